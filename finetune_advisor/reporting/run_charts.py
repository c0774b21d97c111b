"""The charts of a run: its curves, and how its answers agree with the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune_advisor.images.split import group_ids
from finetune_advisor.metrics import accuracy_interval, wilson_interval
from finetune_advisor.records.history import Record
from finetune_advisor.records.predictions import Answer
from finetune_advisor.reporting.charts import ROW, Bar, BarPlot, LinePlot, Scale, Series, Tick, line_plot
from finetune_advisor.text import shown

USUAL_UPDATES = (1e-4, 1e-2)
"""Norm of a step over that of the weights it moves, where the rate is right."""

ACCURACY_SPAN = 0.06
"""What an axis of accuracies spans at least."""

BINS = 10
"""Of probabilities, for reliability."""

MOST_CELLS = 12
"""Classes up to which the confusion matrix is drawn."""

MOST_CONFUSIONS = 10
MOST_CLASSES = 40
"""Rows of the table of classes; worst first where there are more."""

MOST_BARS = 20
"""Classes with a bar; those of which least are found where there are more."""

CLASS_NAME = 26


def curve_plots(records: Sequence[Record]) -> dict[str, LinePlot]:
    """By name: what happened during training, or how the strengths of a probe compared; without what is not there."""
    if not records:
        return {}
    plots = _strength_plots(records) if records[0].strength is not None else _training_plots(records)
    return {name: plot for name, plot in plots.items() if plot is not None}


def _training_plots(records: Sequence[Record]) -> dict[str, LinePlot | None]:
    x = [record.epoch for record in records]
    rates, updates = ([getattr(record, field) or {} for record in records] for field in ("lr", "update_ratio"))
    return {
        "loss": line_plot(
            "Loss (nats)",
            x,
            [
                Series("training", [record.train_loss for record in records]),
                Series("validation", [record.val_loss for record in records], strong=True),
            ],
        ),
        "accuracy": line_plot(
            "Accuracy",
            x,
            [
                Series("training", [record.train_accuracy for record in records]),
                Series("validation", [record.val_accuracy for record in records], strong=True),
            ],
            least_span=ACCURACY_SPAN,
        ),
        "rates": line_plot("Learning rate after each epoch", x, _by_group(rates), log_y=True),
        "updates": line_plot(
            "Size of a step beside the weights", x, _by_group(updates), log_y=True, band=USUAL_UPDATES
        ),
        "throughput": line_plot(
            "Images per second", x, [Series("images/s", [record.images_per_second for record in records], strong=True)]
        ),
    }


def _by_group(values: Sequence[Mapping[str, float]]) -> list[Series]:
    """A line for each group; norms and biases, which share the rate of their weights, are left out."""
    names = dict.fromkeys(name for each in values for name in each if not name.endswith("_norm_bias"))
    return [Series(shown(name, 14), [each.get(name) for each in values], strong=name == "head") for name in names]


def _strength_plots(records: Sequence[Record]) -> dict[str, LinePlot | None]:
    x = [record.strength or 0.0 for record in records]
    chosen = [place for place, record in enumerate(records) if record.chosen]
    plots = {}
    for name, title in (("accuracy", "Accuracy out of fold"), ("loss", "Log loss out of fold (nats)")):
        values = [getattr(record, f"val_{name}") for record in records]
        series = [Series(name, values, strong=True)]
        span = ACCURACY_SPAN if name == "accuracy" else 0.0
        plots[name] = line_plot(title, x, series, x_label="L2 strength", log_x=True, marked=chosen, least_span=span)
    return plots


@dataclass(frozen=True, slots=True)
class Bin:
    x: float
    y: float
    low: float
    high: float
    radius: float
    title: str


@dataclass(frozen=True, slots=True)
class ReliabilityPlot:
    """How often answers of a probability are right."""

    height: float
    left: float
    right: float
    top: float
    bottom: float
    ticks_x: tuple[Tick, ...]
    ticks_y: tuple[Tick, ...]
    bins: tuple[Bin, ...]
    error: float
    """Expected calibration error: the mean distance from the diagonal."""
    surer: bool
    """Whether the probabilities promise more than is right."""


def reliability_plot(answers: Sequence[Answer], groups: Mapping[str, str] | None = None) -> ReliabilityPlot | None:
    """Share of right answers over their probability; None without answers.

    Args:
        answers: of the images.
        groups: group of each image that belongs together with others, by its name.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    if not answers:
        return None
    left, right, top, bottom = 46.0, 250.0, 10.0, 214.0
    across, up = Scale(0, 1, left, right), Scale(0, 1, bottom, top)
    members_of: dict[int, list[Answer]] = {}
    for answer in answers:
        members_of.setdefault(min(int(answer.probability * BINS), BINS - 1), []).append(answer)
    bins, error, surplus = [], 0.0, 0.0
    for _, members in sorted(members_of.items()):
        said = sum(answer.probability for answer in members) / len(members)
        right_ones = sum(answer.right for answer in members)
        share = right_ones / len(members)
        group_N = group_ids([answer.name for answer in members], groups or {})
        low, high = accuracy_interval(np.array([answer.right for answer in members]), group_N)
        part = len(members) / len(answers)
        error += part * abs(share - said)
        surplus += part * (said - share)
        radius = round(3 + 6 * part**0.5, 1)
        title = f"{len(members):,} answers of about {said:.2f}: {share:.2f} are right"
        bins.append(Bin(across(said), up(share), up(low), up(high), radius, title))
    marks = (0, 0.25, 0.5, 0.75, 1)
    return ReliabilityPlot(
        height=bottom + 36,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        ticks_x=tuple(Tick(across(value), f"{value:g}") for value in marks),
        ticks_y=tuple(Tick(up(value), f"{value:g}") for value in marks),
        bins=tuple(bins),
        error=error,
        surer=surplus > 0,
    )


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    x: float
    y: float
    count: int
    share: float
    """Of the images of its true class."""
    right: bool


@dataclass(frozen=True, slots=True)
class ConfusionPlot:
    """Rows are true classes, columns answers."""

    height: float
    side: float
    left: float
    top: float
    names: tuple[str, ...]
    cells: tuple[ConfusionCell, ...]


def confusion_plot(counts_KK: Sequence[Sequence[int]], classes: Sequence[str]) -> ConfusionPlot | None:
    """The matrix; None where there are too many classes to read it."""
    if len(classes) > MOST_CELLS:
        return None
    left, top = 116.0, 22.0
    side = min(56.0, (352 - left) / len(classes))
    cells = tuple(
        ConfusionCell(left + side * column, top + side * row, count, count / max(1, sum(counts)), row == column)
        for row, counts in enumerate(counts_KK)
        for column, count in enumerate(counts)
    )
    return ConfusionPlot(
        top + side * len(classes) + 8, side, left, top, tuple(shown(name, 16) for name in classes), cells
    )


def most_confused(answers: Sequence[Answer]) -> tuple[tuple[str, str, int], ...]:
    """Pairs of classes that are taken for each other most often: (true, answered, images)."""
    counts = Counter((answer.label, answer.prediction) for answer in answers if not answer.right)
    return tuple(
        (shown(label, CLASS_NAME), shown(prediction, CLASS_NAME), count)
        for (label, prediction), count in counts.most_common(MOST_CONFUSIONS)
    )


def recall_plot(
    counts_KK: Sequence[Sequence[int]], classes: Sequence[str], per_class: Mapping[str, Mapping[str, Any]] | None = None
) -> BarPlot | None:
    """A bar for each class that has images: how many of them are recognized.

    Args:
        counts_KK: rows are true classes.
        classes: their names.
        per_class: the block of metrics.json, whose intervals know of groups; without them they are Wilson's.
    """
    found = [(name, counts[at], sum(counts)) for at, (name, counts) in enumerate(zip(classes, counts_KK, strict=True))]
    found = [(name, hits, images) for name, hits, images in found if images]
    if len(found) > MOST_BARS:
        found = sorted(found, key=lambda each: each[1] / each[2])[:MOST_BARS]
    if not found:
        return None
    start, end = 116.0, 238.0
    scale = Scale(0, 1, start, end)
    bars = []
    for row, (name, hits, images) in enumerate(found):
        known = (per_class or {}).get(name, {}).get("recall_ci95")
        low, high = known or wilson_interval(hits, images)
        value = f"{hits / images:.2f} [{low:.2f}, {high:.2f}]"
        bars.append(Bar(4.0 + ROW * row, shown(name, 16), scale(hits / images), scale(low), scale(high), value, True))
    bottom = ROW * len(bars) + 6.0
    marks = tuple(Tick(scale(value), f"{value:g}") for value in (0, 0.5, 1))
    return BarPlot(bottom + 20, start, end, bottom, marks, tuple(bars), None)


@dataclass(frozen=True, slots=True)
class ClassScore:
    name: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


def class_scores(per_class: Mapping[str, Mapping[str, Any]]) -> tuple[ClassScore, ...]:
    """All classes in their order, also those without images; of many, the worst that have some."""
    rows = [
        ClassScore(shown(name, CLASS_NAME), each["images"], each["precision"], each["recall"], each["f1"])
        for name, each in per_class.items()
    ]
    if len(rows) > MOST_CLASSES:
        rows = [row for row in rows if row.images]
        rows = sorted(rows, key=lambda row: row.f1 or 0.0)[:MOST_CLASSES]
    return tuple(rows)
