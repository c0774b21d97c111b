"""From the lines of regret.py to numbers: an oracle that does not flatter itself, intervals, times. Pure.

Shapes: M test images of a task, D data sets. Accuracies and differences are shares here, points on the page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from regret_recipes import ADVISED, ANALYZE, RECIPES, Line

from finetune_advisor.metrics import Z95, paired_lead

FIXED = tuple(name for name in RECIPES if not name.startswith(ADVISED))
"""Recipes that are the same for every data set: what one can always do without an advisor."""

LARGE = "large"
"""Settings of the lines that are a check at full size, and no part of the figures."""

FASTAI = "fastai_fine_tune"

PROBES = ("linear_probe", "stage_probe", "top_layer_probe", f"{ADVISED}linear_probe", f"{ADVISED}stage_probe")

DRAWS = 10_000
"""Of the bootstrap over data sets."""

Bools = npt.NDArray[np.bool_]
Pick = Callable[["Unit"], str]
"""The recipe that is taken for a unit."""


@dataclass(frozen=True)
class Unit:
    """A task with one seed: the analysis and what every recipe made of it."""

    task: str
    data: str
    seed: int
    analysis: Line
    runs: Mapping[str, Line]

    def hits(self, recipe: str) -> Bools:
        """Which test images were recognized (M,)."""
        hits_M: Bools = np.array(list(self.runs[recipe]["correct"])) == "1"
        return hits_M

    def accuracy(self, recipe: str) -> float:
        return float(self.hits(recipe).mean())


def units_of(lines: Iterable[Line]) -> list[Unit]:
    """The units in which every recipe was run that was run in all units of the first seed."""
    found: defaultdict[tuple[str, int], dict[str, Line]] = defaultdict(dict)
    for line in lines:
        if "error" not in line and line["settings"] != LARGE:
            found[line["task"], line["seed"]][line["recipe"]] = line
    first = [set(runs) for (_, seed), runs in found.items() if seed == 0]
    everywhere = [name for name in (ANALYZE, *RECIPES) if all(name in runs for runs in first)]
    return [
        Unit(
            task,
            runs[ANALYZE]["data"],
            seed,
            runs[ANALYZE],
            {name: runs[name] for name in everywhere[1:]},
        )
        for (task, seed), runs in sorted(found.items())
        if set(everywhere) <= set(runs)
    ]


def recipes_of(units: Sequence[Unit]) -> tuple[str, ...]:
    return tuple(units[0].runs)


def advised(unit: Unit) -> str:
    """What the advisor takes, by its analysis as it was when the benchmark ran."""
    return ADVISED + str(unit.analysis["cell"])


def oracle(unit: Unit) -> float:
    """Accuracy of the best recipe: chosen on one half of the test images, scored on the other, both ways round.

    Halves are every other image in the order of the names, so classes have equal shares. Recipes that tie on one half
    count with their mean on the other.
    """
    hits = {recipe: unit.hits(recipe) for recipe in unit.runs}
    recognized, images = 0.0, 0
    for chosen_on, scored_on in ((0, 1), (1, 0)):
        counts = {recipe: int(hit_M[chosen_on::2].sum()) for recipe, hit_M in hits.items()}
        best = [hits[recipe][scored_on::2] for recipe, count in counts.items() if count == max(counts.values())]
        recognized += fmean(float(hit_M.sum()) for hit_M in best)
        images += len(best[0])
    return recognized / images


def best_fixed(units: Sequence[Unit], *, without: str | None) -> str:
    """The fixed recipe with the highest mean accuracy over the tasks of the other data sets."""
    others = [unit for unit in units if unit.data != without] or list(units)
    names = [name for name in FIXED if name in recipes_of(units)]
    return max(names, key=lambda name: fmean(unit.accuracy(name) for unit in others))


def by_task(units: Sequence[Unit], value: Callable[[Unit], float]) -> dict[str, float]:
    """A value of units, its mean over the seeds of each task."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for unit in units:
        found[unit.task].append(value(unit))
    return {task: fmean(values) for task, values in found.items()}


@dataclass(frozen=True)
class Mean:
    """A mean over tasks with its 95 % interval, data sets being what varies."""

    value: float
    low: float
    high: float

    def points(self) -> dict[str, float]:
        return {name: round(100 * number, 2) for name, number in vars(self).items()}


def mean_over_tasks(units: Sequence[Unit], value: Callable[[Unit], float]) -> Mean:
    """Mean over tasks; the interval is a bootstrap that draws whole data sets, for their tasks are alike."""
    data_of = {unit.task: unit.data for unit in units}
    clusters: defaultdict[str, list[float]] = defaultdict(list)
    for task, mean in by_task(units, value).items():
        clusters[data_of[task]].append(mean)
    sum_D = np.array([sum(values) for values in clusters.values()])
    count_D = np.array([len(values) for values in clusters.values()])
    drawn = np.random.default_rng(0).integers(len(sum_D), size=(DRAWS, len(sum_D)))
    means = sum_D[drawn].sum(axis=1) / count_D[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Mean(float(sum_D.sum() / count_D.sum()), float(low), float(high))


def verdicts(units: Sequence[Unit], first: Pick, second: Pick) -> dict[str, str]:
    """Task -> win, tie or loss of the first pick: a tie unless the paired 95 % interval leaves out zero."""
    grouped: defaultdict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        grouped[unit.task].append(unit)
    found = {}
    for task, some in grouped.items():
        hits = [np.concatenate([unit.hits(pick(unit)) for unit in some]) for pick in (first, second)]
        images = np.concatenate([np.arange(len(unit.hits(first(unit)))) for unit in some])
        lead, error = paired_lead(hits[0], hits[1], images)
        found[task] = "tie" if abs(lead) <= Z95 * error else "win" if lead > 0 else "loss"
    return found


def seconds_of(unit: Unit, recipe: str, kind: str) -> float:
    """Of a run in a process of its own, with its first look at the images where it needs one.

    The first probe of a task looked at the test images for all of them; each probe is charged for that.
    """
    run = unit.runs[recipe]
    own = max(run[kind], unit.runs["linear_probe"][kind]) if recipe in PROBES else run[kind]
    return float(own + _startup(unit, kind))


def advisor_seconds(unit: Unit, pick: Pick, kind: str) -> float:
    """Of `analyze` and of `run`, two processes."""
    return float(_startup(unit, kind) + unit.analysis[kind] + seconds_of(unit, pick(unit), kind))


def _startup(unit: Unit, kind: str) -> float:
    return float(unit.analysis["startup"][kind])


def time_ratios(units: Sequence[Unit], pick: Pick, kind: str) -> dict[str, float]:
    """Seconds of the advisor over those of fastai's schedule, and over those of all fixed recipes together."""
    mine = sum(advisor_seconds(unit, pick, kind) for unit in units)
    names = recipes_of(units)
    every = sum(seconds_of(unit, name, kind) for unit in units for name in names if name in FIXED)
    ratios = {"all": mine / every}
    if FASTAI in names:
        ratios["fastai"] = mine / sum(seconds_of(unit, FASTAI, kind) for unit in units)
    return ratios


def compared(units: Sequence[Unit], pick: Pick, other: Pick) -> dict[str, Any]:
    """How many points a pick is ahead of another, and in how many tasks that is more than chance."""
    lead = mean_over_tasks(units, lambda unit: unit.accuracy(pick(unit)) - unit.accuracy(other(unit)))
    seen = verdicts(units, pick, other)
    counts = {word: sum(verdict == word for verdict in seen.values()) for word in ("win", "tie", "loss")}
    return {**lead.points(), **counts}


def left_out(units: Sequence[Unit]) -> Pick:
    """The best fixed recipe, chosen on the data sets that are not the unit's."""
    chosen = {data: best_fixed(units, without=data) for data in {unit.data for unit in units}}
    return lambda unit: chosen[unit.data]


def regret(units: Sequence[Unit], pick: Pick) -> dict[str, Any]:
    """Mean regret against the oracle, and the worst task with it."""
    lost = by_task(units, lambda unit: oracle(unit) - unit.accuracy(pick(unit)))
    worst = max(lost, key=lost.__getitem__)
    mean = mean_over_tasks(units, lambda unit: oracle(unit) - unit.accuracy(pick(unit)))
    return {"mean": mean.points(), "worst": round(100 * lost[worst], 2), "worst_task": worst}
