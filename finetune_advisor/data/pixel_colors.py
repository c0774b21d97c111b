"""The colors of images: mean and covariance of their red, green and blue values.

Shapes: P pixels, C channels (3).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.decode import read_image
from finetune_advisor.data.sample import evenly_spaced
from finetune_advisor.errors import DataError, UnreadableImage
from finetune_advisor.techniques.colors import RGB, Colors
from finetune_advisor.techniques.preprocessing.settings import ValueRange

MOST_IMAGES = 500
"""That are looked at: their covariance is known to a few percent, and decoding them takes seconds."""

AT_LEAST = 128
"""Shorter side, in pixels, that large JPEG files are decoded with: colors need no detail."""


def pixel_colors(paths: Sequence[Path], *, value_range: ValueRange | None = None) -> Colors:
    """Statistics over all pixels of the images, or of evenly spaced ones of very many; every image counts the same.

    Args:
        value_range: see `read_image`.

    Raises:
        DataError: one of them cannot be read any more.
    """
    assert paths, "the colors of nothing"
    chosen = evenly_spaced(len(paths), MOST_IMAGES)
    mean_C, square_CC = np.zeros(3), np.zeros((3, 3))
    for index in chosen:
        try:
            image = read_image(paths[index], at_least=AT_LEAST, value_range=value_range)
        except UnreadableImage as error:
            raise DataError(f"{paths[index]} cannot be read any more: {error.message}.") from error
        pixels_PC = np.asarray(image, dtype=np.float64).reshape(-1, 3) / 255
        mean_C += pixels_PC.mean(axis=0) / len(chosen)
        square_CC += pixels_PC.T @ pixels_PC / len(pixels_PC) / len(chosen)
    covariance_CC = square_CC - np.outer(mean_C, mean_C)
    red, green, blue = map(_rgb, covariance_CC)
    return Colors(mean=_rgb(mean_C), covariance=(red, green, blue))


def _rgb(values_C: npt.NDArray[np.float64]) -> RGB:
    red, green, blue = values_C.tolist()
    return red, green, blue
