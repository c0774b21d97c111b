"""Colors of the training images: the scale of those with more than 8 bits, mean and covariance of all.

Shapes: P pixels, C channels (3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune_advisor.errors import DataError, UnreadableImage
from finetune_advisor.images.decode import has_wide_values, read_image, wide_values
from finetune_advisor.images.sample import evenly_spaced
from finetune_advisor.records.health import ValueScale
from finetune_advisor.techniques.base import RGB, Colors
from finetune_advisor.techniques.preprocessing import ValueRange

SCALE_IMAGES = 200
"""Whose values are read: seconds of work, and rare images hardly move a quantile of all values."""

MOST_VALUES = 2**14
"""Of one image, evenly spaced."""

BEYOND = 0.001
"""Share of the values that may lie below the range, and as many above: hot pixels do not set the scale."""

FILLED = 0.25
"""Share of a usual scale that values fill at least where it is taken."""

_BITS = range(8, 33)
_THREADS = 8


def value_scale(paths: Sequence[Path]) -> ValueScale | None:
    """Measure the scale of training images; None where none that can be read has more than 8 bits per channel.

    The range is the least usual scale that holds all but the outermost values: 0 to 255, 511, 1023 and so on, and 0 to
    1 for floats. Where the values fill less than a fourth of it, or some are negative, it is the values' own.

    Only the first bytes of ordinary images are read.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(has_wide_values, paths))
    wide = [path for path, is_wide in zip(paths, found, strict=True) if is_wide]
    samples: list[npt.NDArray[Any]] = []
    ends: list[tuple[float, float]] = []
    for place in evenly_spaced(len(wide), SCALE_IMAGES) if wide else ():
        try:
            values = wide_values(wide[place])
        except UnreadableImage:  # named when all images are looked at
            continue
        if values is not None and np.isfinite(values).all():
            samples.append(values.reshape(-1)[evenly_spaced(values.size, MOST_VALUES)])
            ends.append((float(values.min()), float(values.max())))
    if not samples:
        return None
    pooled = np.concatenate([sample.astype(np.float64) for sample in samples])
    low, high = np.quantile(pooled, [BEYOND, 1 - BEYOND]).tolist()
    black, white = _range(low, high, integers=all(sample.dtype.kind != "f" for sample in samples))
    return ValueScale(
        range=(black, white),
        images=len(wide),
        of=sum(is_wide is not None for is_wide in found),
        measured=len(samples),
        types=dict(Counter(sample.dtype.name for sample in samples)),
        lowest=min(lowest for lowest, _ in ends),
        highest=max(highest for _, highest in ends),
        clipped=float(np.mean((pooled < black) | (pooled > white))),
    )


def _range(low: float, high: float, *, integers: bool) -> ValueRange:
    if low >= 0:
        whites = [2.0**bits - 1 for bits in _BITS]
        white = next((white for white in (whites if integers else [1.0, *whites]) if high <= white), None)
        if white is not None and high - low >= FILLED * white:
            return 0.0, white
    return low, high if high > low else low + 1


COLOR_IMAGES = 500
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
    chosen = evenly_spaced(len(paths), COLOR_IMAGES)
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
