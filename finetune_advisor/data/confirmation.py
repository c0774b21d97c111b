"""Which plausible near-duplicates are worth an alarm: those no two different images of this data set resemble.

After alignment the finest detail of a pair is compared, with local contrast made even: outlines and layout, which
different garments or X-rays share, count for little there, and what the same picture shares counts for much. How much
different images agree is measured in the data set itself, on the nearest images that do not hang together by plausible
pairs. Fisher's transform makes such correlations nearly normal, so a normal distribution is fitted to the best match of
each image, by median and upper quartile alone: copies that went unnoticed are in its upper tail and do not move those.
Its extrapolation is the correlation that less than `FALSE_ALARMS` pairs of different images should reach.

Shapes: N images, P pairs, H height and W width of a thumbnail, C channels.

Source: Fisher, "On the probable error of a coefficient of correlation", Metron 1921.
"""

from __future__ import annotations

import logging
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.alignment import Fit, FloatArray, even_contrast, unit
from finetune_advisor.data.looks import Looks

log = logging.getLogger(__name__)

FINEST = (0.5, 1.5)
"""Band of the detail that decides, see `band_passed`: what is blurred away at half the size of a thumbnail."""

FALSE_ALARMS = 0.5
"""Expected number of images of a data set whose best match would be confirmed although it is another picture."""

OTHER_COLOR = 0.1
"""Share of those that are allowed where colors differ, as after a filter."""

LEAST = 0.85
"""Least correlation of the finest detail, however different the images of a data set are.

Photographs and textures at JPEG quality 40, half the size or with 5 % cut off reach .9; the nearest different
photographs .4 to .7.
"""

FEW = 0.95
"""The same where there are too few different images to measure what they have in common."""

FEWEST = 20
"""Images whose best match must be known for that."""

SAME_LIGHT = 12.0
"""Mean absolute difference of aligned color thumbnails, in gray levels, up to which light and color are the same."""

SAME_COLOR = 8.0
"""The same without brightness, that is of each channel less the mean of all, up to which the color is the same."""

MANY_DETAILS = 12.0
"""Least independent detail where light or color differ, when nothing else speaks for the pair."""

SMALLEST = 32
"""Least shorter side in pixels; what is smaller has too little detail to tell copies from images that are alike."""

ENLARGED = 0.03
"""Detail between a quarter and a third of a thumbnail's pixels over all detail, as amplitudes; a data set whose median
image has less was enlarged from about 16 pixels or less. Photographs have .06 to .2, at 128 px strongly compressed .09,
8 px digits .026."""


class Likeness(NamedTuple):
    """How much aligned pairs have in common."""

    fine_P: npt.NDArray[np.float64]
    """Fisher's transform of the correlation of the finest detail."""
    freedom_P: npt.NDArray[np.float64]
    """Independent detail of the poorer image."""
    light_P: npt.NDArray[np.float64]
    """Mean absolute difference of the color thumbnails, in gray levels."""
    color_P: npt.NDArray[np.float64]
    """The same without brightness."""


class Strangers(NamedTuple):
    """What the best matches of different images of a data set look like: a normal distribution of `fine_P`."""

    middle: float
    spread: float

    def least(self, images: int, alarms: float) -> float:
        """The value that as many best matches of different images are expected to exceed.

        Infinite where different images usually agree as well as copies do: then thumbnails cannot tell them apart.
        """
        if self.spread and self.middle >= np.arctanh(FEW):
            return float("inf")
        tail = min(0.5, alarms / max(images, 1))
        return max(float(np.arctanh(LEAST)), self.middle + self.spread * NormalDist().inv_cdf(1 - tail))


def likeness(aligned: Fit, first_PHWC: npt.NDArray[np.uint8], second_PHWC: npt.NDArray[np.uint8]) -> Likeness:
    """Compare pairs that were aligned by coarser detail.

    Args:
        aligned: the pairs' gray thumbnails.
        first_PHWC: color thumbnails of the first images.
        second_PHWC: color thumbnails of the second images.
    """
    aligned = aligned.refined(FINEST)
    one_PHW, other_PHW = (even_contrast(detail_PHW) for detail_PHW in aligned.details(FINEST))
    correlation_P = np.einsum("phw,phw->p", unit(one_PHW), unit(other_PHW)).astype(np.float64)
    one_PHWC, other_PHWC = aligned.colors(first_PHWC, second_PHWC)
    # Stripes and other patterns can be aligned a period off, so colors may also agree as the images lie.
    changes = (one_PHWC - other_PHWC, first_PHWC.astype(np.float32) - second_PHWC)
    light_2P = np.stack([np.abs(change_PHWC).mean(axis=(1, 2, 3)) for change_PHWC in changes])
    hues = [change_PHWC - change_PHWC.mean(axis=3, keepdims=True) for change_PHWC in changes]
    color_2P = np.stack([np.abs(hue_PHWC).mean(axis=(1, 2, 3)) for hue_PHWC in hues])
    return Likeness(
        np.arctanh(correlation_P.clip(-0.9999, 0.9999)),
        np.minimum(freedom(one_PHW), freedom(other_PHW)),
        light_2P.min(axis=0).astype(np.float64),
        color_2P.min(axis=0).astype(np.float64),
    )


def strangers(best_N: npt.NDArray[np.floating]) -> Strangers:
    """The distribution of best matches among different images, some of which may be copies that went unnoticed."""
    if len(best_N) < FEWEST:
        return Strangers(float(np.arctanh(FEW)), 0.0)
    middle, upper = np.quantile(best_N, (0.5, 0.75)).tolist()
    return Strangers(middle, (upper - middle) / NormalDist().inv_cdf(0.75))


def confirmed(
    found: Likeness, usual: Strangers, *, images: int, drawn_P: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Whether each pair is far more alike than different images of the data set (P,).

    Where brightness or color differ, as between exposures, detail alone speaks for the pair, and there must be much of
    it; where colors differ it must agree better still. Drawings on plain ground, whose outline is all there is, are not
    confirmed then.

    Args:
        found: of the pairs.
        usual: of different images.
        images: N.
        drawn_P: whether one of the two is a drawing on plain ground.
    """
    least, strict = (usual.least(images, FALSE_ALARMS * share) for share in (1.0, OTHER_COLOR))
    log.info(
        "near-duplicates are confirmed from a correlation of %.3f, %.3f in other colors", *np.tanh([least, strict])
    )
    alike_P = (found.light_P <= SAME_LIGHT) & (found.color_P <= SAME_COLOR)
    detailed_P = (found.freedom_P >= MANY_DETAILS) & ~drawn_P
    needed_P = np.where(found.color_P <= SAME_COLOR, least, strict)
    return np.asarray((found.fine_P >= needed_P) & (alike_P | detailed_P))


def too_small(looks: Looks) -> npt.NDArray[np.bool_]:
    """Whether each image carries too little detail to tell copies (N,): its own size, or that of an enlarged set."""
    if not len(looks):
        return np.zeros(0, bool)
    small_N = looks.sizes_N2.min(axis=1) < SMALLEST
    sharpness_N = _sharpness(looks.thumbnails_NHW)
    varied_N = np.isfinite(sharpness_N)
    if varied_N.any() and float(np.median(sharpness_N[varied_N])) < ENLARGED:
        return np.ones(len(looks), bool)
    return np.asarray(small_N)


def freedom(detail_PHW: FloatArray) -> npt.NDArray[np.float64]:
    """Independent detail of each image (P,): participation ratio of its power spectrum."""
    power_PHW = np.abs(np.fft.rfft2(detail_PHW * _taper(detail_PHW.shape[1], 0.5))) ** 2
    squares_P = (power_PHW**2).sum(axis=(1, 2))
    return np.asarray(power_PHW.sum(axis=(1, 2)) ** 2 / np.maximum(squares_P, 1e-30), dtype=np.float64)


def _sharpness(thumb_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Detail of 12 to 16 waves across a 48 px thumbnail over all detail, as amplitudes (N,); NaN for a plain image."""
    side = thumb_NHW.shape[1]
    rows_H, columns_W = np.fft.fftfreq(side) * side, np.fft.rfftfreq(side) * side
    waves_HW = np.hypot(rows_H[:, None], columns_W)
    fine_HW = (waves_HW >= side / 4) & (waves_HW < side / 3)
    sharp_N = np.full(len(thumb_NHW), np.nan)
    for start in range(0, len(thumb_NHW), 512):
        image_PHW = thumb_NHW[start : start + 512].astype(np.float64)
        image_PHW -= image_PHW.mean(axis=(1, 2), keepdims=True)
        power_PHW = np.abs(np.fft.rfft2(image_PHW * _taper(side, 1.0))) ** 2
        total_P = power_PHW[:, waves_HW >= 1].sum(axis=1)
        fine_P = power_PHW[:, fine_HW].sum(axis=1)
        sharp_N[start : start + 512] = np.where(total_P > 1e-6, np.sqrt(fine_P / np.maximum(total_P, 1e-6)), np.nan)
    return sharp_N


def _taper(side: int, power: float) -> npt.NDArray[np.float64]:
    taper_H = np.sin(np.pi * (np.arange(side) + 0.5) / side)
    return np.asarray(np.outer(taper_H, taper_H) ** power)
