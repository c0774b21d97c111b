"""Where known data sets fall in the table, and what near-duplicates in the data do to the folds.

    .venv/bin/python benchmarks/cells.py DATA_DIR --out benchmarks/results

DATA_DIR holds a folder or an archive for each name of `DATA_SETS`; those that are missing are left out. Labels of test
images play no part. Writes cells.json and cells.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import publish

from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.images.sources import Listing, open_source
from finetune_advisor.records.profile import Profile


@dataclass(frozen=True)
class DataSet:
    """What to open in DATA_DIR, and how much of it."""

    name: str
    place: str
    per_class: int | None = None
    """Training images of each class; None takes all."""
    expected: str = ""


DATA_SETS = (
    DataSet("hymenoptera", "hymenoptera", expected="little, similar"),
    DataSet("food", "food/groups.csv", expected="similar"),
    DataSet("clothing", "clothing", expected="similar"),
    DataSet("flowers", "flowers/groups.csv"),
    DataSet("weather", "weather/groups.csv"),
    DataSet("textures", "textures/groups.csv"),
    DataSet("chest_xray", "chest_xray/groups.csv", expected="different"),
    DataSet("tile_defects", "tile_defects/groups.csv", expected="different"),
    DataSet("mnist10k", "mnist10k.tar.gz"),
    DataSet("cifar10, 20 a class", "cifar10.tar.gz", per_class=20, expected="little"),
    DataSet("cifar10, 5,000 a class", "cifar10.tar.gz", expected="plenty"),
)


def listing_of(folder: Path, data: DataSet) -> Listing:
    listing = open_source(folder / data.place)
    if data.per_class is None:
        return listing
    taken: Counter[int] = Counter()
    kept = []
    for index in np.random.default_rng(0).permutation(len(listing.samples)).tolist():
        sample = listing.samples[index]
        if sample.split != "test" and taken[sample.label] < data.per_class:
            taken[sample.label] += 1
            kept.append(index)
    return replace(listing, samples=tuple(listing.samples[index] for index in sorted(kept)))


def row(data: DataSet, profile: Profile) -> dict[str, object]:
    size, similarity, predicted, leak = profile.size, profile.similarity, profile.predicted, profile.health.leak
    assert predicted is not None and leak is not None
    return {
        "data": data.name,
        "expected": data.expected,
        "per_effective_class": size.per_effective_class,
        "size": size.verdict,
        "similarity": similarity.score,
        "similar": similarity.verdict,
        "cell": profile.cell,
        "neighbors": [neighbor.cell for neighbor in profile.neighbors],
        "predicted": [predicted.accuracy, predicted.low, predicted.high],
        "groups": leak.families,
        "in_groups": leak.images_in_families,
        "folds_alone": leak.accuracy_alone,
        "folds_together": leak.accuracy_together,
        "sign": leak.sign if leak.suspicious else None,
        "as_expected": set(data.expected.split(", ")) <= {size.verdict, similarity.verdict, ""},
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["# Where known data falls in the table", ""]
    lines += [
        "| data | images an effective class | similarity | cell | neighbors | expected |",
        "|---" * 6 + "|",
    ]
    for r in rows:
        others = ", ".join(r["neighbors"])
        expected = f"{r['expected']}: {'yes' if r['as_expected'] else 'NO'}" if r["expected"] else ""
        lines.append(
            f"| {r['data']} | {r['per_effective_class']:.0f}, {r['size']} | {r['similarity']:.2f}, {r['similar']} | "
            f"{r['cell']} | {others} | {expected} |"
        )
    lines += [
        "",
        "What groups (copies, near-duplicates, those of the table) do to the folds of the best linear classifier:",
        "",
    ]
    lines += ["| data | groups | images in them | folds by image | folds by group | predicted | sign of more |"]
    lines += ["|---" * 7 + "|"]
    for r in rows:
        alone = "" if r["folds_alone"] is None else f"{r['folds_alone']:.3f}"
        together = "" if r["folds_together"] is None else f"{r['folds_together']:.3f}"
        accuracy, low, high = r["predicted"]
        lines.append(
            f"| {r['data']} | {r['groups']} | {r['in_groups']} | {alone} | {together} | "
            f"{accuracy:.3f} [{low:.3f}, {high:.3f}] | {r['sign'] or ''} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    for data in DATA_SETS:
        if not (arguments.data / data.place).exists():
            print(f"{data.name}: there is no {data.place}")
            continue
        rows.append(row(data, place(analyze(listing_of(arguments.data, data), device="cpu"))))
        print(json.dumps(rows[-1]), flush=True)
    text = markdown(rows)
    print(text)
    if arguments.out:
        publish(arguments.out, "cells", {"rows": rows}, text)


if __name__ == "__main__":
    main()
