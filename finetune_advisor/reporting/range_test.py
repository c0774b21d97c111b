"""Picture of a learning rate range test."""

from __future__ import annotations

from pathlib import Path

from finetune_advisor.artifacts.range_test import RangeTest
from finetune_advisor.reporting.figures import CHOSEN, FAINT, TRAIN, VAL, new_figure, save_figure


def draw_range_test(test: RangeTest, path: Path) -> None:
    """The smoothed loss over the rate, with both rates that it suggests.

    Raises:
        StorageError: the picture cannot be written.
    """
    figure = new_figure(7.0, 4.0)
    axes = figure.add_subplot()
    axes.semilogx(test.rates, test.losses, color=VAL)
    for rate, label, color in (
        (test.steepest, "steepest", TRAIN),
        (test.tenth_of_lowest, "a tenth of the lowest", CHOSEN),
    ):
        if rate is not None:
            axes.axvline(rate, color=color, linestyle="--", label=f"{label}: {rate:.2g}")
    if test.losses:
        low, first = min(test.losses), test.losses[0]
        axes.set_ylim(low - 0.1 * first, max(1.5 * first, 1.1 * low))
    axes.grid(color=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("learning rate of the new classifier (optimizer.lr)")
    axes.set_ylabel("training loss, smoothed (nats)")
    axes.set_title("Learning rate range test")
    if test.suggestion is not None:
        axes.legend(frameon=False)
    save_figure(figure, path)
