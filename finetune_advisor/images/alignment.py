"""Thumbnails brought onto each other, and which pairs are alike enough for an alarm.

Source: Lucas and Kanade, "An iterative image registration technique with an application to stereo vision", IJCAI 1981.

After alignment the finest detail of a pair is compared, with local contrast made even: outlines and layout, which
different garments or X-rays share, count for little there, and what the same picture shares counts for much. How much
different images agree is measured in the data set itself, on the nearest images that do not hang together by plausible
pairs. Fisher's transform makes such correlations nearly normal, so a normal distribution is fitted to the best match of
each image, by median and upper quartile alone: copies that went unnoticed are in its upper tail and do not move those.
Its extrapolation is the correlation that less than `FALSE_ALARMS` pairs of different images should reach.

Source: Fisher, "On the probable error of a coefficient of correlation", Metron 1921.

Shapes: P images or pairs, H height and W width of a thumbnail (equal), Q the four margins of a crop, N images, P
pairs, H height and W width of a thumbnail, C channels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune_advisor.images.thumbnails import Looks

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

REFERENCE_SIDE = 32
"""Blurs are given in pixels of a thumbnail of this side."""

STEPS = 4
"""Gauss-Newton steps; from a start within 2.5 % of the image two or three are enough."""

STEP = 0.006
"""Change of a margin for the difference quotients, as a share of the side: a fifth of a pixel."""

LONGEST_STEP = 0.02
"""Most that one step may change a margin; what is farther away looks unlike a straight line."""

HOPELESS = 0.6
"""Pairs that correlate less than this at every start are not refined; nearly all crops of 5 % start above .75."""

MARGINS = (-0.03, 0.1)
"""Bounds of a margin: a crop of 5 % with room for whoever cut a little more, or a little off the other image."""

LOCAL = 3.0
"""Standard deviation of the blur that local contrast is measured with, in pixels of the reference side."""

PLAIN = 0.3
"""Local contrast below this share of the image's own is left low, so that noise of plain areas is not blown up."""


class Window(NamedTuple):
    """What a crop cuts off, as shares of the side."""

    left: float
    right: float
    top: float
    bottom: float


def band_passed(image_PHW: FloatArray, band: tuple[float, float]) -> FloatArray:
    """Each image blurred a little less itself blurred more: detail between two scales, light and slow shades gone.

    Args:
        band: standard deviations of both Gaussian blurs, in pixels of a thumbnail of `REFERENCE_SIDE`.
    """
    fine, coarse = (sigma * image_PHW.shape[1] / REFERENCE_SIDE for sigma in band)
    return _blurred(image_PHW, fine) - _blurred(image_PHW, coarse)


def even_contrast(detail_PHW: FloatArray) -> FloatArray:
    """Each pixel over the contrast around it, so that a strong edge or frame does not outweigh all the rest."""
    local_PHW = _blurred(detail_PHW**2, LOCAL * detail_PHW.shape[1] / REFERENCE_SIDE)
    own_P = detail_PHW.var(axis=(1, 2))[:, None, None]
    return np.asarray(detail_PHW / np.sqrt(np.maximum(local_PHW, 0) + PLAIN**2 * own_P + 1e-12))


def unit(image_PHW: FloatArray) -> FloatArray:
    """Each image with mean zero and length one, so that products are correlations; a plain one is all zeros."""
    centered_PHW = image_PHW - image_PHW.mean(axis=(1, 2), keepdims=True)
    length_P = np.sqrt((centered_PHW**2).sum(axis=(1, 2), keepdims=True))
    return np.asarray(centered_PHW / np.maximum(length_P, 1e-6))


def crop(image_PHW: FloatArray, window: Window) -> FloatArray:
    """The same crop of each image, stretched to the whole side."""
    margins_PQ = np.tile(np.array(window, np.float32), (1, 1))
    return _cropped(image_PHW, margins_PQ)


class Fit(NamedTuple):
    """Pairs brought onto each other: which of the two is cropped, and how."""

    source_PHW: FloatArray
    """The image that is cropped, as it is."""
    target_PHW: FloatArray
    margins_PQ: FloatArray
    swapped_P: npt.NDArray[np.bool_]
    """Whether the source is the second image of the pair."""

    def rows(self, index_K: npt.NDArray[np.integer]) -> Fit:
        """The same for some of the pairs."""
        return Fit(*(array[index_K] for array in self))

    def refined(self, band: tuple[float, float]) -> Fit:
        """The margins fitted once more to detail of this band."""
        target_PHW = unit(band_passed(self.target_PHW, band))
        return self._replace(margins_PQ=_refined(self.source_PHW, target_PHW, self.margins_PQ, band))

    def details(self, band: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
        """The detail of the cropped source and of the target, each (P, H, W)."""
        return band_passed(_cropped(self.source_PHW, self.margins_PQ), band), band_passed(self.target_PHW, band)

    def colors(
        self, first_PHWC: npt.NDArray[np.uint8], second_PHWC: npt.NDArray[np.uint8]
    ) -> tuple[FloatArray, FloatArray]:
        """The pairs' color thumbnails, the source cropped like its gray one; each (P, H, W, C)."""
        swap_P1111 = self.swapped_P[:, None, None, None]
        source_PHWC = np.where(swap_P1111, second_PHWC, first_PHWC).astype(np.float32)
        target_PHWC = np.where(swap_P1111, first_PHWC, second_PHWC).astype(np.float32)
        channels = [_cropped(source_PHWC[..., channel], self.margins_PQ) for channel in range(source_PHWC.shape[-1])]
        return np.stack(channels, axis=-1), target_PHWC


def fit(first_PHW: FloatArray, second_PHW: FloatArray, *, band: tuple[float, float], starts: Sequence[Window]) -> Fit:
    """Find the crop of one image of each pair that correlates best with the other; either may be the crop.

    The best start is refined by Gauss-Newton steps on its four margins.

    Args:
        band: see `band_passed`.
        starts: crops to start from.
    """
    both = (first_PHW, second_PHW)
    details = tuple(unit(band_passed(image_PHW, band)) for image_PHW in both)
    correlation_P = np.full(len(first_PHW), -np.inf)
    margins_PQ = np.zeros((len(first_PHW), 4), np.float32)
    swapped_P = np.zeros(len(first_PHW), bool)
    for window in starts:
        for swapped in (False, True):
            view_PHW = unit(band_passed(crop(both[swapped], window), band))
            value_P = _products(view_PHW, details[not swapped])
            better_P = value_P > correlation_P
            correlation_P[better_P] = value_P[better_P]
            margins_PQ[better_P], swapped_P[better_P] = window, swapped
    swap_P11 = swapped_P[:, None, None]
    source_PHW = np.where(swap_P11, second_PHW, first_PHW)
    target_PHW = np.where(swap_P11, details[0], details[1])
    near_P = correlation_P >= HOPELESS
    margins_PQ[near_P] = _refined(source_PHW[near_P], target_PHW[near_P], margins_PQ[near_P], band)
    return Fit(source_PHW, np.where(swap_P11, first_PHW, second_PHW), margins_PQ, swapped_P)


def _refined(
    source_PHW: FloatArray, target_PHW: FloatArray, margins_PQ: FloatArray, band: tuple[float, float]
) -> FloatArray:
    """Margins after Gauss-Newton steps on the squared difference; the best ones seen are kept."""

    def view(margins_PQ: FloatArray) -> FloatArray:
        return unit(band_passed(_cropped(source_PHW, margins_PQ), band))

    pixels = source_PHW.shape[1] * source_PHW.shape[2]
    best_PQ, now_PHW = margins_PQ, view(margins_PQ)
    best_P = _products(now_PHW, target_PHW)
    for _ in range(STEPS):
        slopes = [(view(margins_PQ + STEP * along_Q) - now_PHW) / STEP for along_Q in np.eye(4, dtype=np.float32)]
        slope_PFQ = np.stack(slopes, axis=3).reshape(len(source_PHW), pixels, 4)
        normal_PQQ = slope_PFQ.transpose(0, 2, 1) @ slope_PFQ
        damping_P = 1e-3 * np.trace(normal_PQQ, axis1=1, axis2=2) + 1e-6
        gap_PF1 = (target_PHW - now_PHW).reshape(len(source_PHW), pixels, 1)
        wanted_PQ1 = slope_PFQ.transpose(0, 2, 1) @ gap_PF1
        change_PQ = np.linalg.solve(normal_PQQ + damping_P[:, None, None] * np.eye(4, dtype=np.float32), wanted_PQ1)
        margins_PQ = (margins_PQ + change_PQ[..., 0].clip(-LONGEST_STEP, LONGEST_STEP)).clip(*MARGINS)
        now_PHW = view(margins_PQ)
        value_P = _products(now_PHW, target_PHW)
        better_P = value_P > best_P
        best_P = np.where(better_P, value_P, best_P)
        best_PQ = np.where(better_P[:, None], margins_PQ, best_PQ)
    return best_PQ


def _products(one_PHW: FloatArray, other_PHW: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("phw,phw->p", one_PHW, other_PHW))


def _cropped(image_PHW: FloatArray, margins_PQ: FloatArray) -> FloatArray:
    """A crop of each image, stretched to the whole side; one row of margins serves all."""
    side = image_PHW.shape[1]
    columns_PWW, rows_PHH = (_interpolation(margins_PQ[:, k : k + 2], side) for k in (0, 2))
    return np.asarray(rows_PHH @ image_PHW @ columns_PWW.transpose(0, 2, 1))


def _interpolation(margins_P2: FloatArray, side: int) -> FloatArray:
    """Matrices (P, side, side) that read a line between its two margins by linear interpolation."""
    before_P1, after_P1 = margins_P2[:, :1], margins_P2[:, 1:]
    place_PS = side * before_P1 + (np.arange(side, dtype=np.float32) + 0.5) * (1 - before_P1 - after_P1) - 0.5
    place_PS = place_PS.clip(0, side - 1)
    distance_PSS = np.abs(place_PS[:, :, None] - np.arange(side, dtype=np.float32))
    return np.asarray(np.maximum(0, 1 - distance_PSS), dtype=np.float32)


def _blurred(image_PHW: FloatArray, sigma: float) -> FloatArray:
    blur_HH = _blur(image_PHW.shape[1], sigma)
    across_PWH = (image_PHW @ blur_HH.T).transpose(0, 2, 1)
    return np.asarray((across_PWH @ blur_HH.T).transpose(0, 2, 1), dtype=np.float32)


@cache
def _blur(side: int, sigma: float) -> FloatArray:
    """Gaussian blur of a line as a matrix (side, side), mirrored at the ends and cut at four deviations."""
    reach = int(4 * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    blur_HH = np.zeros((side, side))
    for row in range(side):
        place = (row + offset) % (2 * side)
        np.add.at(blur_HH[row], np.minimum(place, 2 * side - 1 - place), kernel / kernel.sum())
    return blur_HH.astype(np.float32)


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
