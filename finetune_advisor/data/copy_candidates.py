"""Pairs of images that deserve a closer look as near-duplicates, from products of coarse thumbnails.

Shapes: N images, M of them with enough detail, P pairs, R rows at once, H height and W width of a thumbnail, D waves, K
frequencies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.alignment import FloatArray, Window, band_passed, crop

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.intp]

PLAIN_GROUND = 0.55
"""An image is a drawing when more than this share of its thumbnail has one shade.

That is .6 to .9 of a digit of MNIST and less than .55 of 99 % of photographs and scans.
"""

ONE_SHADE = 0.02
"""Shades that differ by less than this share of the image's range of shades count as one."""

ENOUGH_DETAIL = 0.5
"""Least standard deviation of the detail, in gray levels; below it there is little but rounding and noise."""

CANDIDATE = 0.8
"""Least correlation of the coarse detail of one image with a crop of the other."""

DRAWING_CANDIDATE = 0.97
"""The same for drawings."""

COARSE_CANDIDATE = 0.7
"""The same without crops, which is what can be afforded where images are many."""

MANY = 20_000
"""From this many images on, candidates are found without crops."""

NEAREST = 4
"""Candidates kept for each image and crop: sets with hundreds of relatives stay affordable, and still hang together."""

WAVES = 12
"""Half waves across the image, up to which the coarse detail is compared; the blur leaves a fifth of the next ones."""

ROWS = 512
"""Images compared with all others at once, which bounds the memory."""

FINE = (0.75, 3.0)
"""What is compared in the end: standard deviations of two blurs, in pixels of a 32 pixel thumbnail."""

COARSE = (1.5, 4.0)
"""What candidates are found by."""


def candidates(thumb_NHW: npt.NDArray[np.uint8], crops: Sequence[Window]) -> tuple[IntArray, IntArray]:
    """Pairs that deserve a closer look: places of the first and of the second image, each (P,)."""
    able_M, least_M = _promising(thumb_NHW)
    if len(able_M) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    small_MHW = _halved(thumb_NHW[able_M])
    axes_FD = _axes(small_MHW.shape[1])
    plain_MD = _coordinates(small_MHW, axes_FD, crops[0])
    if len(able_M) > MANY:
        log.info("%d images: near-duplicates are looked for without trying crops first", len(able_M))
        crops, least_M = crops[:1], np.where(least_M > CANDIDATE, least_M, COARSE_CANDIDATE)
    keys = [
        _near(_coordinates(small_MHW, axes_FD, window), plain_MD, least_M, own=window == crops[0]) for window in crops
    ]
    key_P = np.unique(np.concatenate(keys))
    return able_M[key_P // len(able_M)], able_M[key_P % len(able_M)]


def nearest_strangers(
    thumb_NHW: npt.NDArray[np.uint8],
    group_N: IntArray,
    linked: tuple[IntArray, IntArray],
    *,
    sample: int,
    nearest: int,
    seed: int,
) -> tuple[IntArray, IntArray]:
    """The most similar images of other groups, for a sample of images: places of both images, each (P,).

    Args:
        group_N: images of one group are not paired.
        linked: places of images that are not paired either.
        sample: images that are drawn; all are taken where there are fewer.
        nearest: pairs of each, fewer where there are not so many others; they stand one after the other.
        seed: of the draw.
    """
    able_M, _ = _promising(thumb_NHW)
    if len(able_M) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    small_MHW = _halved(thumb_NHW[able_M])
    plain_MD = _coordinates(small_MHW, _axes(small_MHW.shape[1]), Window(0.0, 0.0, 0.0, 0.0))
    query_R = np.arange(len(able_M))
    if len(able_M) > sample:
        query_R = np.sort(np.random.default_rng(seed).choice(len(able_M), sample, replace=False))
    table_RN = plain_MD[query_R] @ plain_MD.T
    group_M = group_N[able_M]
    table_RN[group_M[query_R][:, None] == group_M] = -np.inf
    row_N, column_N = np.full(len(thumb_NHW), -1), np.full(len(thumb_NHW), -1)
    row_N[able_M[query_R]], column_N[able_M] = np.arange(len(query_R)), np.arange(len(able_M))
    for one_P, other_P in (linked, linked[::-1]):
        known_P = (row_N[one_P] >= 0) & (column_N[other_P] >= 0)
        table_RN[row_N[one_P[known_P]], column_N[other_P[known_P]]] = -np.inf
    count = min(nearest, len(able_M))
    column_RK = np.argpartition(-table_RN, count - 1, axis=1)[:, :count]
    other_RK = np.isfinite(np.take_along_axis(table_RN, column_RK, axis=1))
    first_RK = np.repeat(query_R, count).reshape(-1, count)
    return able_M[first_RK[other_RK]], able_M[column_RK[other_RK]]


def _promising(thumb_NHW: npt.NDArray[np.uint8]) -> tuple[IntArray, FloatArray]:
    """Images with enough detail to be told apart (M,), and the least correlation that makes each a candidate (M,)."""
    strength_N = np.empty(len(thumb_NHW))
    for part in _parts(len(thumb_NHW)):
        strength_N[part] = band_passed(thumb_NHW[part].astype(np.float32), FINE).std(axis=(1, 2))
    able_M = np.flatnonzero(strength_N >= ENOUGH_DETAIL)
    drawn_M = np.concatenate([drawn(thumb_NHW[able_M[part]]) for part in _parts(len(able_M))] or [np.empty(0, bool)])
    return able_M, np.where(drawn_M, DRAWING_CANDIDATE, CANDIDATE).astype(np.float32)


def drawn(thumb_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether each image is a drawing on a plain ground (N,)."""
    shade_NF = np.sort(thumb_NHW.reshape(len(thumb_NHW), -1), axis=1).astype(np.int64)
    pixels = shade_NF.shape[1]
    reach_N = np.maximum(1, ONE_SHADE * (shade_NF[:, -1 - pixels // 100] - shade_NF[:, pixels // 100]))
    width = int(PLAIN_GROUND * pixels)
    # Sorted, the ground is a run: some run of this many pixels spans no more than one shade to either side.
    return np.asarray((shade_NF[:, width:] - shade_NF[:, :-width]).min(axis=1) <= 2 * reach_N)


def _parts(images: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, images, ROWS))


def _halved(thumb_NHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Thumbnails of half the side, which is all that coarse detail needs."""
    images, height, width = thumb_NHW.shape
    assert height % 2 == 0, "thumbnails have an even side"
    small_NHW = np.empty((images, height // 2, width // 2), np.uint8)
    for part in _parts(images):
        pixels_PH2W2 = thumb_NHW[part].reshape(-1, height // 2, 2, width // 2, 2).astype(np.uint16)
        small_NHW[part] = (pixels_PH2W2.sum(axis=(2, 4)) + 2) // 4
    return small_NHW


def _axes(side: int) -> FloatArray:
    """The slowest waves of the cosine transform (H*W, D), without the constant one: all there is in coarse detail."""
    frequency_K = np.arange(WAVES + 1)
    wave_KH = np.cos(np.pi * frequency_K[:, None] * (np.arange(side) + 0.5) / side)
    wave_KH /= np.linalg.norm(wave_KH, axis=1, keepdims=True)
    row_D, column_D = np.nonzero(
        (frequency_K[:, None] ** 2 + frequency_K**2 <= WAVES**2) & (frequency_K + frequency_K[:, None] > 0)
    )
    axes_DHW = wave_KH[row_D, :, None] * wave_KH[column_D, None, :]
    return np.asarray(axes_DHW.reshape(len(row_D), -1).T, dtype=np.float32)


def _coordinates(thumb_NHW: npt.NDArray[np.uint8], axes_FD: FloatArray, window: Window) -> FloatArray:
    """Coarse detail of a crop of each image as waves (N, D), of unit length."""
    parts = []
    for part in _parts(len(thumb_NHW)):
        detail_PHW = band_passed(crop(thumb_NHW[part].astype(np.float32), window), COARSE)
        parts.append(detail_PHW.reshape(len(detail_PHW), -1) @ axes_FD)
    coordinates_ND = np.concatenate(parts)
    length_N1 = np.linalg.norm(coordinates_ND, axis=1, keepdims=True)
    return np.asarray(coordinates_ND / np.maximum(length_N1, 1e-9))


def _near(crop_ND: FloatArray, plain_ND: FloatArray, least_N: FloatArray, *, own: bool) -> IntArray:
    """Keys (first * N + second, first < second) of pairs whose crop and plain image correlate enough (P,).

    Args:
        least_N: least correlation for each image; the larger of both counts.
        own: whether crops are the plain images, so that one half of the table is enough.
    """
    images, floor = len(plain_ND), float(least_N.min())
    keys = []
    for start in range(0, images, ROWS):
        first_column = start if own else 0
        table_RN = crop_ND[start : start + ROWS] @ plain_ND[first_column:].T
        row_P, column_P = _hits(table_RN, floor)
        value_P = table_RN[row_P, column_P]
        row_P, column_P = row_P + start, column_P + first_column
        keep_P = (row_P != column_P) & (value_P >= np.maximum(least_N[row_P], least_N[column_P]))
        keep_P[keep_P] = _strongest(row_P[keep_P], value_P[keep_P])
        low_P, high_P = np.minimum(row_P, column_P)[keep_P], np.maximum(row_P, column_P)[keep_P]
        keys.append(np.unique(low_P * images + high_P))
    return np.concatenate(keys)


def _hits(table_RN: FloatArray, floor: float) -> tuple[IntArray, IntArray]:
    """Rows and columns of the entries that reach the floor, each (P,); few do, so eight are looked at in one go."""
    hit_M = np.zeros(-(-table_RN.size // 8) * 8, bool)
    np.greater_equal(table_RN.ravel(), floor, out=hit_M[: table_RN.size])
    eight_P = np.flatnonzero(hit_M.view(np.uint64))
    place_P8 = eight_P[:, None] * 8 + np.arange(8)
    place_P = place_P8[hit_M.reshape(-1, 8)[eight_P]]
    return place_P // table_RN.shape[1], place_P % table_RN.shape[1]


def _strongest(row_P: IntArray, value_P: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each value (P,) is among the `NEAREST` largest of its row."""
    order_P = np.lexsort((-value_P, row_P))
    sorted_P = row_P[order_P]
    rank_P = np.arange(len(row_P)) - np.searchsorted(sorted_P, sorted_P)
    keep_P = np.empty(len(row_P), bool)
    keep_P[order_P] = rank_P < NEAREST
    return keep_P
