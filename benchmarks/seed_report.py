"""The page of `seed_tables.py`: our figures next to those of the slides, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t

Line = dict[str, Any]

SLIDES_A = {
    "ReLU": (0.318, 12.45),
    "Leaky ReLU, a = 100": (0.31, 12.66),
    "Leaky ReLU, a = 5.5": (0.362, 11.20),
    "PReLU": (0.178, 11.79),
    "RReLU": (0.550, 11.19),
}
"""Training and test error in percent: slides, table 3."""

SLIDES_B = {
    "L2": 1.62,
    "L2 + L1 applied towards the end of training": 1.60,
    "L2 + KL-sparsity": 1.55,
    "Max-norm": 1.35,
    "Dropout + L2": 1.25,
    "Dropout + Max-norm": 1.05,
}
"""Test error in percent, of nets trained on 60,000 digits and scored on 10,000: slides, table 9."""

PICTURES = {"c": "Loss curves of both initializations", "d": "Variance of ten layers on a logarithmic scale"}
"""Tables that `seed_plot.py` draws, and what is to be seen."""

TITLES = {
    "a": "a. Activations in the NIN on CIFAR-10",
    "b": "b. Regularizers on MNIST",
    "c": "c. He against 1/sqrt(n) in a net of 22 layers",
    "d": "d. What ten layers leave of the signal",
    "e": "e. Augmentation in fine-tuning",
}


def picture(table: str) -> str:
    """The file of a table's picture, beside the page."""
    return f"seed_table_{table}.svg"


def report(lines: Sequence[Line]) -> str:
    """The page, in Markdown; a table that was not run is said to be missing."""
    parts = ["# The slides' figures, measured again\n"]
    for table, title in TITLES.items():
        found = [line for line in lines if line["table"] == table]
        parts.append(f"## {title}\n")
        parts += [*_TABLE[table](found), ""] if found else ["Not run yet.\n"]
        if found and table in PICTURES:
            parts.append(f"![{PICTURES[table]}]({picture(table)})\n")
        made = {(line["made"]["command"], line["made"]["machine"]) for line in found}
        parts += [f"Made by `{command}` on {machine}.\n" for command, machine in sorted(made)]
    return "\n".join(parts)


def _errors(lines: Sequence[Line]) -> Iterator[str]:
    """Test error of each row: mean over seeds with its 95 % interval, and what the size of the test set leaves open."""
    figures = {"a": {row: test for row, (_, test) in SLIDES_A.items()}, "b": SLIDES_B, "e": {}}[lines[0]["table"]]
    yield "| | slides, test error % | ours, % | interval over seeds | seeds | one run is known to |"
    yield "|---|---|---|---|---|---|"
    for row, found in by_row(lines):
        errors = [100 * line["test_error"] for line in found]
        mean, images = fmean(errors), found[0]["test_images"]
        alone = 1.96 * math.sqrt(max(mean, 0.1) * (100 - mean) / images)
        slides = f"{figures[row]:.2f}" if row in figures else "–"
        ours = f"{mean:.2f} | {_interval(errors)} | {len(errors)} | +-{alone:.2f} of {images:,} images"
        yield f"| {row} | {slides} | {ours} |"


def _curves(lines: Sequence[Line]) -> Iterator[str]:
    """Loss of training and error of the watched images, epoch by epoch."""
    epochs = max(len(line["epochs"]) for line in lines)
    yield "| | " + " | ".join(f"epoch {number + 1}" for number in range(epochs)) + " |"
    yield "|---" * (epochs + 1) + "|"
    for row, found in by_row(lines):
        for key, scale, name in (("train_loss", 1, "training loss"), ("error", 100, "error %")):
            cells = []
            for epoch in range(epochs):
                values = [scale * line["epochs"][epoch][key] for line in found if len(line["epochs"]) > epoch]
                cells.append(f"{fmean(values):.{2 if scale == 1 else 0}f}" if values else "–")
            yield f"| {row}: {name} ({len(found)} seeds) | {' | '.join(cells)} |"


def _variances(lines: Sequence[Line]) -> Iterator[str]:
    layers = len(lines[0]["variance"])
    yield "Variance of the raw outputs of each layer, before any training.\n"
    yield "| | " + " | ".join(f"layer {number + 1}" for number in range(layers)) + " |"
    yield "|---" * (layers + 1) + "|"
    for row, found in by_row(lines):
        yield f"| {row} | {' | '.join(f'{value:.2g}' for value in found[0]['variance'])} |"


_TABLE = {"a": _errors, "b": _errors, "c": _curves, "d": _variances, "e": _errors}


def by_row(lines: Sequence[Line]) -> Iterator[tuple[str, list[Line]]]:
    """The lines of each row of a table, rows in the order in which they come."""
    for row in dict.fromkeys(line["row"] for line in lines):
        yield row, [line for line in lines if line["row"] == row]


def _interval(values: Sequence[float]) -> str:
    """95 % of the mean, by Student's t."""
    if len(values) < 2:
        return "–"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"[{fmean(values) - half:.2f}, {fmean(values) + half:.2f}]"
