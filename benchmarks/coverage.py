"""Does the predicted interval contain the later test accuracy? And what is the stage probe worth?

    .venv/bin/python benchmarks/coverage.py DATA_DIR --seeds 10 --out benchmarks/results

DATA_DIR holds a folder or an archive for each data set of `DATA_SETS`; those that are missing are left out. Each seed
takes 70 % of the training images (by family), predicts from them alone, fits, and only then looks at the test labels.
Writes coverage.json and coverage.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import stamp

from finetune_advisor.analysis.probes import Probed, probe
from finetune_advisor.dataset import TRAINABLE, open_dataset
from finetune_advisor.features.extract import Features, ruler
from finetune_advisor.images.sample import stratified_sample
from finetune_advisor.images.sources import open_source
from finetune_advisor.images.split import stratified_folds
from finetune_advisor.probes import logistic
from finetune_advisor.probes.interval import CHOSEN, FIXED, interval
from finetune_advisor.processes import default_workers
from finetune_advisor.records.profile import ProbeScore

DATA_SETS = {
    "hymenoptera": ("hymenoptera", None),
    "food": ("food/groups.csv", "group"),
    "tile_defects by group": ("tile_defects/groups.csv", "group"),
    "textures": ("textures/groups.csv", "group"),
    "mnist10k, 1,500 images": ("mnist10k.tar.gz", None),
    "cifar10, 1,500 images": ("cifar10.tar.gz", None),
}
"""Name -> what to open in DATA_DIR, and the column of groups."""

LIMIT = 1500
SHARE, FOLDS, TOP_SEEDS = 0.7, 5, 5
TOP = "pooled"


@dataclass(frozen=True)
class Data:
    """Features, labels and families of all images, and which of them train and which test."""

    name: str
    features: Features
    labels_N: npt.NDArray[np.intp]
    family_N: npt.NDArray[np.intp]
    train_N: npt.NDArray[np.intp]
    test_N: npt.NDArray[np.intp]
    classes: int


def opened(folder: Path) -> Iterable[Data]:
    """The data sets that are there, measured."""
    for name, (place, group) in DATA_SETS.items():
        if not (folder / place).exists():
            print(f"{name}: there is no {place}")
            continue
        listing = stratified_sample(open_source(folder / place, group=group), LIMIT, seed=0)
        data = open_dataset(listing, [ruler()], validation=0.2, seed=0, device="cpu", workers=default_workers())
        every_N = np.arange(len(data.listing.samples))
        yield Data(
            name,
            data.features[0],
            data.labels(every_N),
            data.family_N,
            data.index(*TRAINABLE),
            data.index("test"),
            len(data.classes),
        )


def probed(data: Data, index_N: npt.NDArray[np.intp], seed: int) -> Probed:
    labels_N, family_N = data.labels_N[index_N], data.family_N[index_N]
    fold_N = stratified_folds(labels_N, FOLDS, seed=seed, groups_N=family_N)
    return probe(data.features.rows(index_N), labels_N, fold_N, family_N=family_N, classes=data.classes, device="cpu")


def test_accuracy(data: Data, index_N: npt.NDArray[np.intp], score: ProbeScore) -> float:
    """Of the probe fitted on these training images."""
    x_ND = data.features.stage(score.stage)
    found = logistic.fit(x_ND[index_N], data.labels_N[index_N], strength=score.strength, classes=data.classes)
    return float(np.mean(found.logits(x_ND[data.test_N]).argmax(axis=1) == data.labels_N[data.test_N]))


def stage_probe(scores: Iterable[ProbeScore]) -> ProbeScore:
    return min((score for score in scores if score.stage != TOP), key=lambda score: score.log_loss)


def predictions(data: Data, seeds: int) -> list[dict[str, object]]:
    """Predicted and later accuracy of the linear probe and of the best stage probe, a row for each and each seed."""
    rows: list[dict[str, object]] = []
    for seed in range(seeds):
        families = np.unique(data.family_N[data.train_N])
        kept = np.random.default_rng(seed).permutation(families)[: round(SHARE * len(families))]
        index_N = data.train_N[np.isin(data.family_N[data.train_N], kept)]
        found = probed(data, index_N, seed)
        top = next(score for score in found.scores if score.stage == TOP)
        for kind, score, optimism in (("linear", top, FIXED), ("stage", stage_probe(found.scores), CHOSEN)):
            low, high = interval(
                score.accuracy,
                images=len(index_N),
                std=score.std,
                optimism=optimism,
                test_images=len(data.test_N),
            )
            later = test_accuracy(data, index_N, score)
            rows.append(
                {
                    "data": data.name,
                    "seed": seed,
                    "probe": kind,
                    "place": score.stage,
                    "folds": score.accuracy,
                    "std": score.std,
                    "low": low,
                    "high": high,
                    "test": later,
                    "inside": low <= later <= high,
                }
            )
    return rows


def stage_against_top(data: Data, seeds: int) -> dict[str, object]:
    """Test accuracy of the stage probe chosen on folds and of the top-layer probe, on all training images."""
    pairs, places = [], []
    for seed in range(seeds):
        scores = probed(data, data.train_N, seed).scores
        top, stage = next(score for score in scores if score.stage == TOP), stage_probe(scores)
        pairs.append([test_accuracy(data, data.train_N, top), test_accuracy(data, data.train_N, stage)])
        places.append(stage.stage)
    top_S, stage_S = np.array(pairs).T
    return {
        "data": data.name,
        "top": float(top_S.mean()),
        "stage": float(stage_S.mean()),
        "points": float(100 * (stage_S - top_S).mean()),
        "places": sorted(set(places)),
    }


def summary(rows: Sequence[dict[str, object]], kind: str) -> list[dict[str, object]]:
    found = []
    for name in dict.fromkeys(str(row["data"]) for row in rows):
        mine = [row for row in rows if row["data"] == name and row["probe"] == kind]
        low, high, test, folds = (
            np.array([row[key] for row in mine], float) for key in ("low", "high", "test", "folds")
        )
        found.append(
            {
                "data": name,
                "inside": int(((low <= test) & (test <= high)).sum()),
                "of": len(mine),
                "folds": float(folds.mean()),
                "test": float(test.mean()),
                "width": float((high - low).mean()),
            }
        )
    return found


def page(rows: Sequence[dict[str, object]], against: Sequence[dict[str, object]]) -> str:
    lines: list[str] = []
    for kind, title in (("linear", "The linear probe"), ("stage", "The best stage probe, chosen on folds")):
        table = summary(rows, kind)
        inside, of = sum(int(str(row["inside"])) for row in table), sum(int(str(row["of"])) for row in table)
        lines += [f"{title}: {inside} of {of} intervals contain the test accuracy.", ""]
        lines += ["| data | inside | mean on folds | mean on test | mean width |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['data']} | {row['inside']} of {row['of']} | {row['folds']:.3f} | {row['test']:.3f} | "
            f"{row['width']:.3f} |"
            for row in table
        ]
        lines += [""]
    lines += [f"Stage probe against top-layer probe, all training images, mean of {TOP_SEEDS} seeds of the folds:", ""]
    lines += ["| data | top | stage | points | places chosen |", "|---|---|---|---|---|"]
    for row in against:
        places = row["places"]
        assert isinstance(places, list)
        lines.append(
            f"| {row['data']} | {row['top']:.3f} | {row['stage']:.3f} | {row['points']:+.1f} | {', '.join(places)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--seeds", type=int, default=10, help="subsamples of each data set (default 10)")
    parser.add_argument("--out", type=Path, help="folder for coverage.json and coverage.md")
    options = parser.parse_args()
    report(opened(options.data), options.seeds, options.out)


def report(data_sets: Iterable[Data], seeds: int, out: Path | None) -> None:
    """Measure, print, and write where told, after each data set: a run that is cut short is not lost."""
    rows: list[dict[str, object]] = []
    against: list[dict[str, object]] = []
    for data in data_sets:
        rows += predictions(data, seeds)
        against.append(stage_against_top(data, TOP_SEEDS))
        print(page(rows, against))
        if out is not None:
            write(rows, against, out)


def write(rows: Sequence[dict[str, object]], against: Sequence[dict[str, object]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    found = {"made": stamp(), "rows": rows, "stage_against_top": against}
    (out / "coverage.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    made = f"Made by `{stamp()['command']}` on {stamp()['machine']}."
    text = f"# Predicted and later accuracy\n\n{made}\n\n{page(rows, against)}"
    (out / "coverage.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
