"""Picture of a learning rate range test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from finetune_advisor.artifacts.range_test import RangeTest


def draw_range_test(test: RangeTest, path: Path) -> None:
    """Write the smoothed loss over the learning rate as SVG, with both rates that it suggests marked.

    Raises:
        StorageError: the picture cannot be written.
    """
    title = "Training loss as the learning rate rises"
    # What explodes in the end would press everything else flat.
    top = max(1.5 * test.losses[0], 1.1 * min(test.losses)) if test.losses else 0.0
    losses = [loss if loss <= top else None for loss in test.losses]
    suggested = [rate for rate in (test.steepest, test.tenth_of_lowest) if rate is not None]
    nearest = [int(np.abs(np.array(test.rates) - rate).argmin()) for rate in suggested]
