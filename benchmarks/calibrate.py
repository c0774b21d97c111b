"""Fit the borders of the table to measured outcomes, and say what they lose on data sets they have not seen.

    python benchmarks/calibrate.py benchmarks/results/regret.jsonl --out benchmarks/results

Reads the lines of regret.py. For every border of amount and similarity that is tried, the outcome of a task is that of
the recipe that the advice writes for the cell it then falls into. Borders are chosen on all data sets but one and
judged on that one: this left-out regret is the number that counts. advice/calibration.yaml is changed by hand, and only
where it falls. Writes calibration.json and calibration.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from machine import publish
from regret_figures import Pick, Unit, compared, recipes_of, regret, units_of
from regret_lines import read_lines
from regret_recipes import ADVISED
from regret_rules import grid, mean_accuracy, table

from finetune_advisor.advice.table import Calibration, calibration

NO_WORSE = 1e-3
"""Mean accuracy within which borders are taken as equally good, and those nearest to the shipped ones are kept."""

RULES = ("few_layers", "many_layers")
"""Cells whose recipe the advice adjusts to the data; the shipped recipe of the same name is the yardstick."""


def fit(units: Sequence[Unit], tried: Sequence[tuple[Calibration, Pick]]) -> Calibration:
    """Of the borders with the highest mean accuracy over tasks those nearest to the shipped ones."""
    scores = [mean_accuracy(units, pick) for _, pick in tried]
    return next(at for (at, _), score in zip(tried, scores, strict=True) if score >= max(scores) - NO_WORSE)


def calibrated(units: Sequence[Unit]) -> dict[str, Any]:
    """The borders fitted to all data sets, and the regret of those that were fitted without the data set they judge."""
    tried = [(at, table(at)) for at in grid()]
    data_sets = sorted({unit.data for unit in units})
    without = {data: fit([unit for unit in units if unit.data != data], tried) for data in data_sets}
    picks = {data: table(at) for data, at in without.items()}
    shipped, everything = calibration(), fit(units, tried)

    def left_out(unit: Unit) -> str:
        return picks[unit.data](unit)

    rules = {"shipped": table(shipped), "fitted, data set left out": left_out, "fitted to all": table(everything)}
    return {
        "data_sets": data_sets,
        "tasks": sorted({unit.task for unit in units}),
        "seeds": sorted({unit.seed for unit in units}),
        "commits": sorted({unit.analysis["commit"] for unit in units}),
        "shipped": _numbers(shipped),
        "fitted": _numbers(everything),
        "fitted_without": {data: _numbers(at) for data, at in without.items()},
        "rules": {
            name: {"accuracy": mean_accuracy(units, pick), **regret(units, pick)} for name, pick in rules.items()
        },
        "gain_left_out": compared(units, left_out, rules["shipped"]),
        "as_good": _as_good(units, tried),
        "adjusted": {
            cell: compared(units, lambda _, cell=cell: ADVISED + cell, lambda _, cell=cell: cell)  # type: ignore[misc]
            for cell in RULES
            if {cell, ADVISED + cell} <= set(recipes_of(units))
        },
        "by_data": {
            data: {
                name: fmean(unit.accuracy(pick(unit)) for unit in units if unit.data == data)
                for name, pick in rules.items()
            }
            for data in data_sets
        },
    }


def _as_good(units: Sequence[Unit], tried: Sequence[tuple[Calibration, Pick]]) -> dict[str, list[float]]:
    """The range of each border among all that are as good as the best: how little the data says about it."""
    scores = [mean_accuracy(units, pick) for _, pick in tried]
    good = [_numbers(at) for (at, _), score in zip(tried, scores, strict=True) if score >= max(scores) - NO_WORSE]
    return {name: [min(each[name] for each in good), max(each[name] for each in good)] for name in good[0]}


def _numbers(at: Calibration) -> dict[str, float]:
    return {
        "plenty_per_class": at.amount.plenty_per_class,
        "similar": at.similarity.similar,
        "decades_per_reduction": round(at.amount.curve.decades_per_reduction, 3),
    }


def markdown(found: Mapping[str, Any]) -> str:
    gain, fitted = found["gain_left_out"], found["fitted"]
    lines = [
        "# The borders of the table, fitted to outcomes",
        "",
        f"{len(found['tasks'])} tasks of {len(found['data_sets'])} data sets ({', '.join(found['data_sets'])}), seeds "
        f"{', '.join(map(str, found['seeds']))}, lines of commits {', '.join(found['commits'])}.",
        "",
        "| borders | accuracy | mean regret | worst task |",
        "|---|---|---|---|",
    ]
    for name, rule in found["rules"].items():
        mean, worst = rule["mean"], f"{rule['worst']:+.1f} ({rule['worst_task']})"
        interval = f"{mean['value']:+.2f} [{mean['low']:+.2f}, {mean['high']:+.2f}]"
        lines.append(f"| {name} | {100 * rule['accuracy']:.2f} | {interval} | {worst} |")
    lines += [
        "",
        f"On data sets they have not seen, fitted borders are {gain['value']:+.2f} points "
        f"[{gain['low']:+.2f}, {gain['high']:+.2f}] against the shipped ones: {gain['win']} tasks better, "
        f"{gain['tie']} not to be told apart, {gain['loss']} worse.",
        "",
        "| | plenty from, images a class | similar from | decades a unit of the curve |",
        "|---|---|---|---|",
        _row("shipped", found["shipped"]),
        _row("fitted to all", fitted),
        *(_row(f"fitted without {data}", at) for data, at in found["fitted_without"].items()),
        "",
        "As good as the best: "
        + ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in found["as_good"].items())
        + ".",
        "",
        "What the advice changes in a shipped recipe (rates, batch, augmentation, depth, start of the classifier):",
        "",
        *(
            f"- {cell}: {lead['value']:+.2f} points [{lead['low']:+.2f}, {lead['high']:+.2f}] over the shipped recipe; "
            f"{lead['win']} tasks better, {lead['tie']} tied, {lead['loss']} worse."
            for cell, lead in found["adjusted"].items()
        ),
    ]
    return "\n".join(lines)


def _row(name: str, at: Mapping[str, float]) -> str:
    return f"| {name} | {at['plenty_per_class']:g} | {at['similar']:g} | {at['decades_per_reduction']:g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = calibrated(units_of(read_lines(arguments.lines)))
    text = markdown(found)
    print(text)
    if arguments.out:
        publish(arguments.out, "calibration", found, text)


if __name__ == "__main__":
    main()
