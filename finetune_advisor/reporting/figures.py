"""Pictures of a run, drawn from its files.

Shapes: K classes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune_advisor.artifacts.history import Record
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.artifacts.storage import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, TRAIN, VAL, FAINT, CHOSEN = "#1f2933", "#7b8794", "#0b69a3", "#d9e2ec", "#d9822b"

CELLS_WITH_NUMBERS = 20
"""With more classes than this the confusion matrix shows shades only."""


def draw_run(run: RunDir) -> tuple[Path, ...]:
    """Draw the curves and the confusion matrix of a finished run into its figures folder.

    Raises:
        RunError: the run is not finished.
    """
    metrics = run.load_metrics()
    records = run.load_history()
    curves, confusion = run.curves, run.confusion
    probe = bool(records) and records[0].strength is not None
    save_figure(_strengths(records) if probe else _curves(records), curves)
    split = "test" if metrics["test"] else "val"
    save_figure(_confusion(np.array(metrics[split]["confusion"]), metrics["classes"], split), confusion)
    return curves, confusion


def _strengths(records: tuple[Record, ...]) -> Figure:
    """Out-of-fold accuracy and loss of a probe over the L2 strengths tried."""
    strengths = [record.strength for record in records]
    figure, (left, right) = _panels("How much regularization? Out-of-fold scores of the probe")
    for axes, name, label in ((left, "val_loss", "log loss (nats)"), (right, "val_accuracy", "accuracy")):
        axes.semilogx(strengths, [getattr(record, name) for record in records], color=VAL, marker="o", markersize=4)
        chosen = [record for record in records if record.chosen]
        marked = [getattr(record, name) for record in chosen]
        axes.semilogx([record.strength for record in chosen], marked, "o", color=CHOSEN, markersize=9, label="chosen")
        axes.set_xlabel("L2 strength")
        axes.set_ylabel(label)
    left.legend(frameon=False)
    return figure


def _curves(records: tuple[Record, ...]) -> Figure:
    """Loss and accuracy over epochs, training against validation."""
    epochs = [record.epoch for record in records]
    figure, (left, right) = _panels("Training and validation")
    for axes, name, label in ((left, "loss", "loss (nats)"), (right, "accuracy", "accuracy")):
        axes.plot(
            epochs, [getattr(record, f"train_{name}") for record in records], color=TRAIN, label="training", marker="."
        )
        axes.plot(
            epochs, [getattr(record, f"val_{name}") for record in records], color=VAL, label="validation", marker="."
        )
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
    right.legend(frameon=False)
    return figure


def _confusion(counts_KK: np.ndarray[Any, Any], classes: list[str], split: str) -> Figure:
    figure = new_figure(7.0, 6.0)
    axes = figure.add_subplot()
    totals = np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    shares_KK = counts_KK / totals
    axes.imshow(shares_KK, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(f"Which class is taken for which ({split} images)", color=INK)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    names = [short(name) for name in classes]
    if len(classes) <= CELLS_WITH_NUMBERS:
        axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), names)
        for (row, column), count in np.ndenumerate(counts_KK):
            color = "white" if shares_KK[row, column] > 0.5 else INK
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    return figure


def _panels(title: str) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = new_figure(9.0, 3.6)
    figure.suptitle(title, color=INK)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.grid(color=FAINT)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, (left, right)


def new_figure(width: float, height: float) -> Figure:
    """A figure outside pyplot: no global state, no window, no display needed."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def short(name: str, limit: int = 24) -> str:
    """A class name that cannot break the layout or be read as mathematics."""
    plain = name.replace("$", r"\$")
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A letter that no font here has is drawn as a box; its class has its name in every other file.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(temporary, dpi=120)
