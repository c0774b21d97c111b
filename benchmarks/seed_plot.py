"""The pictures of seed_tables.py: loss curves of table c, and what the layers of table d leave of the signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from seed_report import Line, by_row, picture

FLOOR = 1e-42
"""Where a variance of exactly zero is drawn on the logarithmic scale."""


def draw(lines: Sequence[Line], out: Path) -> list[Path]:
    """Write the picture of each of the two tables that has lines; the same lines give the same bytes."""
    written = []
    with plt.rc_context({"svg.hashsalt": "seed tables", "svg.fonttype": "none", "font.size": 8}):
        for table, panel in _PANELS.items():
            found = [line for line in lines if line["table"] == table]
            if not found:
                continue
            figure, axis = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
            panel(axis, found)
            axis.grid(alpha=0.3)
            axis.legend(frameon=False)
            written.append(out / picture(table))
            figure.savefig(written[-1], metadata={"Date": None})
            plt.close(figure)
    return written


def _curves(axis: Axes, lines: Sequence[Line]) -> None:
    """A thin line for each seed, a thick one for their mean over the epochs that all of them reached."""
    for number, (row, found) in enumerate(by_row(lines)):
        losses = [[epoch["train_loss"] for epoch in line["epochs"]] for line in found]
        color = f"C{number}"
        for loss in losses:
            axis.plot(range(1, len(loss) + 1), loss, color=color, linewidth=0.6, alpha=0.5)
        mean = [fmean(values) for values in zip(*losses, strict=False)]
        axis.plot(range(1, len(mean) + 1), mean, color=color, marker=".", label=f"{row} ({len(found)} seeds)")
    axis.set(xlabel="epoch", ylabel="training loss", ylim=(0, 1.1 * axis.get_ylim()[1]))


def _variances(axis: Axes, lines: Sequence[Line]) -> None:
    for number, (row, found) in enumerate(by_row(lines)):
        variance = [max(value, FLOOR) for value in found[0]["variance"]]
        lost = "--" if min(found[0]["variance"]) == 0 else "-"
        label = f"{row} (no signal)" if lost == "--" else row
        axis.plot(range(1, len(variance) + 1), variance, lost, color=f"C{number}", marker=".", label=label)
    axis.set(xlabel="layer", ylabel="variance of its raw outputs", yscale="log", ylim=(FLOOR / 10, 100))


_PANELS: dict[str, Callable[[Axes, Sequence[Line]], None]] = {"c": _curves, "d": _variances}
