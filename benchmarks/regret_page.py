"""regret.json and regret.md from the lines of regret.py."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from regret_figures import (
    FASTAI,
    FIXED,
    LARGE,
    PROBES,
    Unit,
    advised,
    best_fixed,
    by_task,
    compared,
    left_out,
    mean_over_tasks,
    oracle,
    recipes_of,
    regret,
    time_ratios,
    units_of,
    verdicts,
)
from regret_recipes import ADVISED, RECIPES, Line
from regret_rules import (
    by_place_of_the_probe,
    by_similarity_alone,
    by_size_alone,
    fitted_without,
    grid,
    mean_accuracy,
    table,
)
from regret_text import markdown


def figures(lines: Sequence[Line]) -> dict[str, Any]:
    """Everything that regret.json holds and the page shows."""
    units = units_of(lines)
    own, fixed = regret(units, advised), left_out(units)
    against_fixed = compared(units, advised, fixed)
    names = recipes_of(units)
    against = {
        name: compared(units, advised, lambda _, name=name: name)  # type: ignore[misc]
        for name in names
        if name in FIXED
    }
    cpu, wall = time_ratios(units, advised, "cpu"), time_ratios(units, advised, "seconds")
    return {
        "mean_regret": own["mean"]["value"],
        "mean_regret_ci95": [own["mean"]["low"], own["mean"]["high"]],
        "worst_regret": own["worst"],
        "worst_task": own["worst_task"],
        "vs_best_fixed": against_fixed["value"],
        "vs_best_fixed_ci95": [against_fixed["low"], against_fixed["high"]],
        "vs_fastai": against[FASTAI]["value"] if FASTAI in against else None,
        "time_vs_fastai": round(cpu["fastai"], 3) if "fastai" in cpu else None,
        "time_vs_all": round(cpu["all"], 3),
        "wall_vs_fastai": round(wall["fastai"], 3) if "fastai" in wall else None,
        "wall_vs_all": round(wall["all"], 3),
        "units": len(units),
        "seeds": sorted({unit.seed for unit in units}),
        "data_sets": sorted({unit.data for unit in units}),
        "commits": sorted({line["commit"] for line in lines}),
        "settings": sorted({unit.analysis["settings"] for unit in units}),
        "not_run": [name for name in RECIPES if name not in names],
        "best_fixed_left_out": {
            data: best_fixed(units, without=data) for data in sorted({unit.data for unit in units})
        },
        "against_best_fixed": against_fixed,
        "against": against,
        "recipes": {name: _recipe(units, name) for name in names},
        "tasks": _tasks(units),
        "probes_and_training": _probes_and_training(units),
        "rules": rules(units),
        "full_size": _full_size(lines),
    }


def _full_size(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines of large settings as they are: a few tasks and recipes, to see what small settings hide."""
    return [
        {name: line.get(name) for name in ("task", "images", "seed", "recipe", "accuracy", "cell", "cpu", "seconds")}
        for line in lines
        if line.get("settings") == LARGE
    ]


def rules(units: Sequence[Unit]) -> dict[str, dict[str, Any]]:
    """Other ways to choose, each fitted leaving the task's data set out: what either axis is worth."""
    borders = [table(at) for at in grid()]
    picks = {
        "as shipped": advised,
        "borders fitted": fitted_without(units, borders),
        "place of the stage probe": fitted_without(units, by_place_of_the_probe()),
        "size alone": fitted_without(units, by_size_alone()),
        "similarity alone": fitted_without(units, by_similarity_alone()),
        "best fixed recipe": left_out(units),
        "one advised cell": fitted_without(
            units,
            [lambda _, name=name: name for name in recipes_of(units) if name.startswith(ADVISED)],  # type: ignore[misc]
        ),
    }
    return {
        name: {"accuracy": round(100 * mean_accuracy(units, pick), 2), **regret(units, pick)}
        for name, pick in picks.items()
    }


def _recipe(units: Sequence[Unit], name: str) -> dict[str, float]:
    return {
        "accuracy": round(100 * mean_over_tasks(units, lambda unit: unit.accuracy(name)).value, 2),
        "regret": regret(units, lambda _: name)["mean"]["value"],
        "cpu_seconds": round(fmean(unit.runs[name]["cpu"] for unit in units), 1),
        "seconds": round(fmean(unit.runs[name]["seconds"] for unit in units), 1),
    }


def _tasks(units: Sequence[Unit]) -> list[dict[str, Any]]:
    fixed = left_out(units)
    seen = verdicts(units, advised, fixed)
    grouped: defaultdict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        grouped[unit.task].append(unit)
    lost = by_task(units, lambda unit: oracle(unit) - unit.accuracy(advised(unit)))
    return [
        {
            "task": task,
            "data": some[0].data,
            "images": some[0].analysis["images"],
            "test_images": len(some[0].hits(advised(some[0]))),
            "seeds": [unit.seed for unit in some],
            "cells": [unit.analysis["cell"] for unit in some],
            "sure": round(fmean(unit.analysis["confidence"] for unit in some), 2),
            "per_effective_class": round(fmean(_each(unit) for unit in some), 1),
            "similarity": round(fmean(unit.analysis["similarity"]["score"] for unit in some), 3),
            "oracle": round(100 * fmean(oracle(unit) for unit in some), 2),
            "advisor": round(100 * fmean(unit.accuracy(advised(unit)) for unit in some), 2),
            "regret": round(100 * lost[task], 2),
            "best_fixed": fixed(some[0]),
            "against_best_fixed": seen[task],
            "accuracy": {
                name: round(100 * fmean(unit.accuracy(name) for unit in some), 2) for name in recipes_of(units)
            },
        }
        for task, some in grouped.items()
    ]


def _each(unit: Unit) -> float:
    size = unit.analysis["size"]
    return float(size["images"] / size["effective_classes"])


def _probes_and_training(units: Sequence[Unit]) -> dict[str, str]:
    """Task -> whether the better of the two probes beats `few_layers`, by the paired interval."""
    return verdicts(units, _better_probe, lambda _: "few_layers") if "few_layers" in recipes_of(units) else {}


def _better_probe(unit: Unit) -> str:
    """By the accuracy on its folds, which is known before any test image is seen."""
    probes = [name for name in PROBES if name in unit.runs]
    return max(probes, key=lambda name: float(unit.runs[name]["val_accuracy"]))


def publish_page(lines: Sequence[Line], out: Path) -> None:
    """Write regret.json, regret.md and the pictures, which depend on the lines alone."""
    from regret_plot import draw

    found = figures(lines)
    out.mkdir(parents=True, exist_ok=True)
    (out / "regret.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "regret.md").write_text(markdown(found), encoding="utf-8")
    draw(found, out)
