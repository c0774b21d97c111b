"""What ensembles gain over the best single member, and what they cost.

    .venv/bin/python benchmarks/ensembles.py DATA_DIR WORK_DIR --out benchmarks/results

DATA_DIR holds a folder with `groups.csv` for each name of `DATA_SETS`. Every image is tested once: three splits of
groups of images, in each of which the recipes see the two other thirds. Members are chosen on held-out images by
`ensemble`, like for anybody else. A killed benchmark goes on in WORK_DIR. Writes ensembles.json and ensembles.md.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from machine import publish
from sklearn.model_selection import StratifiedGroupKFold

from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.ensemble import Ensemble
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.ensembling import Checkpoints, CrossValidation, Ensembling, Seeds
from finetune_advisor.training.trainer import train
from finetune_advisor.workflows.ensemble import ensemble

DATA_SETS = ("textures", "tile_defects")
SPLITS = 3

Row = dict[str, Any]
"""A gain, as `row` writes it down."""

REDUCED = ("preprocessing.size=96", "runtime.workers=0", "data.group=group")
"""Settings that one busy core can finish; they lower the scores of all alike."""


@dataclass(frozen=True)
class Made:
    """An ensemble of a run: what it is called, how it is made, and the ensemble whose members it takes, if any."""

    name: str
    technique: Ensembling
    members_of: str | None = None


@dataclass(frozen=True)
class Start:
    """A run, and what is made of it."""

    recipe: str
    settings: tuple[str, ...]
    ensembles: tuple[Made, ...]


STARTS = (
    Start(
        "stage_probe",
        ("strategy.strengths=[0.0001, 0.001, 0.01]", "strategy.folds=3"),
        (
            Made("cross_validation", CrossValidation(members=4)),
            Made("cross_validation-equal", CrossValidation(members=4, weights="equal"), "cross_validation"),
        ),
    ),
    Start(
        "few_layers",
        (
            "budget.epochs=3",
            "strategy.stages=1",
            "strategy.cached_views=1",
            "head.initialization.kind=probe",
            "schedule.kind=constant",
            "ensemble.kind=checkpoints",
            "ensemble.members=2",
        ),
        (
            Made("seeds", Seeds(members=3)),
            Made("checkpoints", Checkpoints(members=2)),
        ),
    ),
)


def manifest(folder: Path, split: int, out: Path) -> Path:
    """A table of all images in which one third of the groups is the test split."""
    with (folder / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels, groups = [row["label"] for row in rows], [row["group"] for row in rows]
    folds = StratifiedGroupKFold(SPLITS, shuffle=True, random_state=0).split(rows, labels, groups)
    test = set(list(folds)[split][1].tolist())
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split", "group"])
        inner = StratifiedGroupKFold(5, shuffle=True, random_state=split)
        rest = [place for place in range(len(rows)) if place not in test]
        parts = inner.split(rest, [labels[place] for place in rest], [groups[place] for place in rest])
        val = {rest[place] for place in next(parts)[1].tolist()}
        for place, row in enumerate(rows):
            part = "test" if place in test else "val" if place in val else "train"
            table.writerow([folder / row["path"], row["label"], part, row["group"]])
    return out


def measured(data: Path, work: Path) -> Iterator[Row]:
    """One row for each split, data set and ensemble."""
    for split in range(SPLITS):
        for name in DATA_SETS:
            place = work / name / str(split)
            images = manifest((data / name).resolve(), split, place / "images.csv")
            for start in STARTS:
                run = RunDir(place / start.recipe)
                if not run.finished:
                    recipe = load_recipe(start.recipe, [f"data.path={images}", *REDUCED, *start.settings])
                    train(recipe, run, resume=run.recipe.is_file())
                for each in start.ensembles:
                    runs = [run]
                    if each.members_of:
                        folder = RunDir(place / each.members_of).members
                        runs += [RunDir(member) for member in sorted(folder.iterdir())]
                    made = ensemble(runs, each.technique, RunDir(place / each.name.replace(" ", "-")))
                    yield row(name, split, start.recipe, each.name, Ensemble.load(made.ensemble))


def row(name: str, split: int, recipe: str, kind: str, found: Ensemble) -> Row:
    chosen = {member.name: round(member.weight, 3) for member in found.members if member.weight}
    return {
        "data": name,
        "recipe": recipe,
        "kind": kind,
        "chosen": chosen,
        **found.gain.model_dump(),
        "split": split,
        "times": found.cost.times,
    }


def pooled(rows: list[Row]) -> tuple[float, float, float]:
    """The gain over the images of several splits, with its 95 % interval: each image was tested once.

    The splits share training images, which the interval does not know of.
    """
    images = np.array([row["images"] for row in rows])
    gains, halves = np.array([row["gain"] for row in rows]), np.array([(row["high"] - row["low"]) / 2 for row in rows])
    share = images / images.sum()
    half = float(np.sqrt(((share * halves) ** 2).sum()))
    gain = float((share * gains).sum())
    return gain, gain - half, gain + half


def markdown(rows: list[Row]) -> str:
    lines = [
        "# What ensembles gain",
        "",
        "Accuracy on test images beside the member that held-out images prefer; in points, with 95 % intervals. Over",
        f"{len({(r['data'], r['split']) for r in rows})} of {len(DATA_SETS) * SPLITS} pairs of data set and split:",
        "",
        "| recipe | ensemble | gain | splits it gained, lost | time |",
        "|---|---|---:|---:|---:|",
    ]
    for start in STARTS:
        for made in start.ensembles:
            kind = made.name
            own = [r for r in rows if (r["recipe"], r["kind"]) == (start.recipe, kind)]
            if own:
                lost = sum(r["gain"] < 0 for r in own)
                gained = f"{sum(r['gain'] > 0 for r in own)}, {lost} of {len(own)}"
                times = float(np.median([r["times"] for r in own]))
                lines.append(f"| {start.recipe} | {kind} | {points(*pooled(own))} | {gained} | {times:.1f} x |")
    gain = pooled(rows)
    lines += [
        "",
        f"All of them: {points(*gain)}.",
        "",
        "| data | split | recipe | ensemble | best single | accuracy | gain |",
    ]
    lines += ["|---|---|---|---|---:|---:|---:|"]
    for r in rows:
        lines.append(
            f"| {r['data']} | {r['split']} | {r['recipe']} | {r['kind']} ({len(r['chosen'])}) | "
            f"{r['best_accuracy']:.3f} {r['best']} | {r['accuracy']:.3f} | {points(r['gain'], r['low'], r['high'])} |"
        )
    settings = "; ".join(f"{start.recipe}: {', '.join(start.settings)}" for start in STARTS)
    lines += ["", f"Reduced settings: {', '.join(REDUCED)}; {settings}. In brackets: how many members were chosen."]
    return "\n".join(lines)


def points(gain: float, low: float, high: float) -> str:
    return f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further ensemble after so many")
    arguments = parser.parse_args()
    rows, start = [], monotonic()
    for found in measured(arguments.data, arguments.work):
        rows.append(found)
        print(json.dumps(found), flush=True)
        if monotonic() - start > 60 * arguments.minutes:
            break
    text = markdown(rows)
    print(text)
    if arguments.out:
        publish(arguments.out, "ensembles", {"rows": rows}, text)


if __name__ == "__main__":
    main()
