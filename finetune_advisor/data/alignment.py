"""Thumbnails brought onto each other: bands of detail, crops, and the crop of one that fits another best.

Shapes: P images or pairs, H height and W width of a thumbnail (equal), Q the four margins of a crop.

Source: Lucas and Kanade, "An iterative image registration technique with an application to stereo vision", IJCAI 1981.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
