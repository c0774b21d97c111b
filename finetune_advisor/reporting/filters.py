"""The filters of a network's first layer as a picture.

Source: slides, "Insights from figures" (visualizing first-layer weights).
Shapes: F filters of I channels, Y by X pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

MOST = 64
COLUMNS = 16
SIDE = 33
"""Pixels of a filter on the picture, about."""

GAP = 4


def filter_sheet(filters_FIYX: npt.NDArray[np.floating]) -> Image.Image:
    """Each filter stretched to the whole range of colors; of other than three channels their mean, in gray.

    What lies between them is transparent, so that it can lie on any background.
    """
    some = filters_FIYX[:MOST]
    size = max(some.shape[2:])
    enlarged = max(1, round(SIDE / size)) * size
    rows = -(-len(some) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * (enlarged + GAP), rows * (enlarged + GAP)), (0, 0, 0, 0))
    for number, filter_IYX in enumerate(some):
        tile = _tile(filter_IYX).resize((enlarged, enlarged), Image.Resampling.NEAREST)
        row, column = divmod(number, COLUMNS)
        sheet.paste(tile, (column * (enlarged + GAP), row * (enlarged + GAP)))
    return sheet


def _tile(filter_IYX: npt.NDArray[np.floating]) -> Image.Image:
    channels = filter_IYX if len(filter_IYX) == 3 else np.repeat(filter_IYX.mean(axis=0, keepdims=True), 3, axis=0)
    low, high = channels.min(), channels.max()
    stretched = (channels - low) / (high - low) if high > low else np.full_like(channels, 0.5)
    return Image.fromarray((255 * stretched).round().astype(np.uint8).transpose(1, 2, 0))
