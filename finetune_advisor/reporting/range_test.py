"""Picture of a learning rate range test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finetune_advisor.records.history import RangeTest
from finetune_advisor.reporting.charts import Series, line_plot
from finetune_advisor.reporting.pages import template
from finetune_advisor.storage.files import atomic_write


def draw_range_test(test: RangeTest, path: Path) -> None:
    """Write the smoothed loss over the learning rate as SVG, with both rates that it suggests marked.

    Raises:
        StorageError: the picture cannot be written.
    """
    title, label = "Training loss as the learning rate rises", "learning rate of the new classifier (optimizer.lr)"
    # What explodes in the end would press everything else flat.
    top = max(1.5 * test.losses[0], 1.1 * min(test.losses)) if test.losses else 0.0
    losses = [loss if loss <= top else None for loss in test.losses]
    suggested = [rate for rate in (test.steepest, test.tenth_of_lowest) if rate is not None]
    nearest = {int(np.abs(np.array(test.rates) - rate).argmin()) for rate in suggested}
    marked = sorted(at for at in nearest if losses[at] is not None)
    plot = line_plot(title, test.rates, [Series("loss", losses, strong=True)], x_label=label, log_x=True, marked=marked)
    if plot is None:
        plot = line_plot(title, (1.0,), [Series("no step was finite", [0.0], strong=True)], x_label=label)
    svg = template("figure.svg.j2").render(kind="lines", plot=plot)
    atomic_write(path, svg.strip().encode(errors="backslashreplace") + b"\n")
