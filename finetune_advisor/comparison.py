"""The verb: Runs -> which of them is better, as far as the images they share can tell.

Sources: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947;
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993; Holm, "A simple sequentially rejective multiple
test procedure", 1979.

Shapes: N images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from finetune_advisor.errors import RunError
from finetune_advisor.images.split import group_ids, load_groups
from finetune_advisor.metrics import accuracy_interval, leak_scores, paired_bootstrap
from finetune_advisor.recipes.load import diff_recipes, load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.predictions import Answer
from finetune_advisor.records.rundir import RunDir

SURE = 0.05
"""Probability of so large a difference by chance below which runs are told apart."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Compared:
    """One run on the images that all runs share."""

    run: str
    strategy: str
    accuracy: float
    low: float
    high: float
    """95 % interval of the accuracy by itself; two runs are compared by their lead, not by these."""
    seconds: float
    mebibytes: float | None
    """Of the model's weights; None where they are gone."""
    left_out: int
    """Images that this run has an answer for and another does not."""
    leak: Mapping[str, Any] | None = None
    """What is left without images that have near-duplicates in the training data of a run, as in metrics.json."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The best run against another, image by image."""

    best: str
    other: str
    lead: float
    low: float
    high: float
    """95 % interval of the lead, from a paired bootstrap."""
    only_best: int
    """Images that only the best run recognizes."""
    only_other: int
    p: float
    """McNemar's exact probability of so uneven a split by chance; Holm's where there are several leads."""

    @property
    def told_apart(self) -> bool:
        return self.p < SURE and self.low > 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs on the images they share, the best first."""

    split: Literal["test", "val"]
    images: int
    groups: int
    """Groups of these images that intervals are of; as many as images where all stand alone."""
    runs: tuple[Compared, ...]
    leads: tuple[Lead, ...]
    recipes: Mapping[str, tuple[str | None, ...]]
    """Keys on which the recipes differ, with the value of each run in the order of `runs`; None is no such key."""
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "leads": [{**asdict(lead), "told_apart": lead.told_apart} for lead in self.leads]}


@dataclass(frozen=True)
class _Read:
    run: RunDir
    metrics: Mapping[str, Any]
    recipe: Recipe
    answers: Mapping[str, Answer]

    @property
    def split(self) -> Literal["test", "val"]:
        return "test" if self.metrics["test"] is not None else "val"


def compare(runs: Sequence[RunDir], *, seed: int = 0) -> Comparison:
    """Compare finished runs on the images that all of them were scored on.

    Args:
        seed: of the bootstrap.

    Raises:
        RunError: fewer than two runs, one that did not finish or is damaged, or runs that cannot be compared: of other
            classes, of other images, or one scored on test and another on validation images.
    """
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        raise RunError("A comparison takes two or more runs, each of them once.")
    read = [_read(run) for run in runs]
    _require_same_kind(read)
    names = _shared(read)
    hits = {one.run.path: np.array([one.answers[name].right for name in names]) for one in read}
    read.sort(key=lambda one: float(hits[one.run.path].mean()), reverse=True)
    best, *others = read
    group_N = _groups(read, names)
    groups = len(np.unique(group_N))
    blocks = [one.metrics[one.split].get("leak") or {} for one in read]
    own_groups = any(block.get("own_groups") for block in blocks)
    leaked = {name for block in blocks for name in block.get("paths", ())}

    def compared(one: _Read) -> Compared:
        hit_N = hits[one.run.path]
        leak = leak_scores(hit_N, names, leaked, group_N=group_N)
        return _compared(one, hit_N, group_N, leak and {**leak, "own_groups": own_groups})

    return Comparison(
        split=best.split,
        images=len(names),
        groups=groups,
        runs=tuple(compared(one) for one in read),
        leads=_corrected(
            [
                _lead(best, other, hits[best.run.path], hits[other.run.path], group_N=group_N, seed=seed)
                for other in others
            ]
        ),
        recipes=_differences(read),
        notes=tuple(_notes(read, len(names), groups)),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided probability, were both classifiers equally good, of disagreements split at least so unevenly."""
    disagreements = only_first + only_second
    few = min(only_first, only_second)
    tail = Fraction(sum(math.comb(disagreements, count) for count in range(few + 1)), 2**disagreements)
    return min(1.0, float(2 * tail))


def _read(run: RunDir) -> _Read:
    metrics = run.load_metrics()
    answers = {answer.name: answer for answer in run.load_predictions(metrics)}
    return _Read(run, metrics, load_recipe(run.recipe), answers)


def _require_same_kind(read: Sequence[_Read]) -> None:
    first = read[0]
    for other in read[1:]:
        mine, theirs = set(first.metrics["classes"]), set(other.metrics["classes"])
        if mine != theirs:
            raise RunError(
                f"{first.run.path} and {other.run.path} know different classes: only one of them has "
                f"{', '.join(sorted(mine ^ theirs)[:5])}.",
                "Compare runs of the same data.",
            )
        if first.split != other.split:
            tested, held = (first, other) if first.split == "test" else (other, first)
            raise RunError(
                f"{tested.run.path} was scored on test images, {held.run.path} on validation images.",
                "Train both on data with a test split, or both without.",
            )


def _shared(read: Sequence[_Read]) -> list[str]:
    """Names of the images that all runs answered, with the same label."""
    names = sorted(set(read[0].answers).intersection(*(one.answers for one in read[1:])))
    if not names:
        raise RunError(
            f"{' and '.join(str(one.run.path) for one in read)} were scored on different images: none is shared.",
            "Compare runs of the same data and the same split; `finetune-advisor evaluate RUN DATA` scores a run anew.",
        )
    for name in names:
        labels = {one.answers[name].label for one in read}
        if len(labels) > 1:
            raise RunError(
                f"{name} is labeled {' and '.join(sorted(labels))}: these are runs of different data.",
                "Compare runs of the same data.",
            )
    return names


def _groups(read: Sequence[_Read], names: Sequence[str]) -> npt.NDArray[np.intp]:
    """Number of the group of each shared image, by what a run noted of its images."""
    noted = (load_groups(one.run.splits) for one in read if one.run.splits.is_file())
    return group_ids(names, next((found for found in noted if found), {}))


def _compared(one: _Read, hit_N: BoolArray, group_N: npt.NDArray[np.intp], leak: Mapping[str, Any] | None) -> Compared:
    low, high = accuracy_interval(hit_N, group_N)
    weights = one.run.model / "model.safetensors"
    return Compared(
        run=str(one.run.path),
        strategy=one.metrics["recipe"],
        accuracy=float(hit_N.mean()),
        low=low,
        high=high,
        seconds=one.metrics["seconds"]["total"],
        mebibytes=weights.stat().st_size / 2**20 if weights.is_file() else None,
        left_out=len(one.answers) - len(hit_N),
        leak=leak,
    )


def _lead(
    best: _Read,
    other: _Read,
    hit_a_N: BoolArray,
    hit_b_N: BoolArray,
    *,
    group_N: npt.NDArray[np.intp],
    seed: int,
) -> Lead:
    lead, low, high = paired_bootstrap(hit_a_N, hit_b_N, None if _alone(group_N) else group_N, seed=seed)
    only_best, only_other = int((hit_a_N & ~hit_b_N).sum()), int((hit_b_N & ~hit_a_N).sum())
    names = str(best.run.path), str(other.run.path)
    return Lead(*names, lead, low, high, only_best, only_other, mcnemar(only_best, only_other))


def _alone(group_N: npt.NDArray[np.intp]) -> bool:
    """Whether each image is a group of its own."""
    return len(np.unique(group_N)) == len(group_N)


def _corrected(leads: Sequence[Lead]) -> tuple[Lead, ...]:
    """With the probabilities that Holm's procedure leaves: of many comparisons one is lucky."""
    corrected: dict[int, float] = {}
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(leads)), key=lambda place: leads[place].p)):
        largest = max(largest, min(1.0, (len(leads) - rank) * leads[place].p))
        corrected[place] = largest
    return tuple(replace(lead, p=corrected[place]) for place, lead in enumerate(leads))


def _differences(read: Sequence[_Read]) -> dict[str, tuple[str | None, ...]]:
    """Every key on which two recipes differ, by the value of each run; names of runs and places of data aside."""
    first = read[0].recipe
    found = [{each.key: each for each in diff_recipes(first, one.recipe)} for one in read]
    keys = dict.fromkeys(key for each in found for key in each if key not in ("name", "data.path"))
    rows = {}
    for key in keys:
        before = next(each[key].before for each in found if key in each)
        rows[key] = tuple(each[key].after if key in each else before for each in found)
    return rows


def _notes(read: Sequence[_Read], shared: int, groups: int) -> list[str]:
    notes = []
    if groups < shared:
        notes.append(
            f"The {shared:,} images come in {groups:,} groups (near-duplicates, or of one patient or scene): intervals "
            "are over groups. McNemar's test takes each image alone, so its probability is too small."
        )
    if any(len(one.answers) > shared for one in read):
        most = max(len(one.answers) for one in read)
        notes.append(f"Compared on the {shared:,} images that all runs share, of up to {most:,} each.")
    if read[0].split == "val":
        notes.append("Scored on validation images, which chose checkpoints or strengths: all look better on them.")
    if len({one.recipe.data.path for one in read}) > 1:
        notes.append("The runs name different places for their data; images were matched by name and label.")
    if len({one.metrics["val_is"] for one in read}) > 1 and read[0].split == "val":
        notes.append("Some were scored out of fold, others on held-out images.")
    return notes
