"""Images that show the same picture: resized, compressed again, slightly cropped, or at another exposure.

Thumbnails are compared by what lies between their coarse and their fine detail, so brightness, contrast and slow
changes of the light do not count. Candidates come from one product of matrices for each of a few crops; each is then
aligned (a crop of one image onto the other, found by Gauss-Newton steps) and compared with local contrast made even.
A pair is plausible when the correlation is high and too high for chance, given how much independent detail the images
have; splits and folds keep plausible pairs together. It is confirmed when different images of the data set never agree
so well (`confirmation`); only confirmed pairs are worth an alarm.

Sources: image alignment: Lucas and Kanade, "An iterative image registration technique", IJCAI 1981. Normal deviate of a
correlation: Fisher, "On the probable error of a coefficient of correlation", Metron 1921.

Shapes: N images, M of them with enough detail, P pairs, R rows at once, H height and W width of a thumbnail, D waves,
K frequencies.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune_advisor.images.alignment import (
    Fit,
    FloatArray,
    Likeness,
    Window,
    band_passed,
    confirmed,
    crop,
    even_contrast,
    fit,
    freedom,
    likeness,
    strangers,
    too_small,
    unit,
)
from finetune_advisor.images.thumbnails import Looks
from finetune_advisor.storage.cache import Memory

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


def family_ids(
    count: int,
    *,
    digests: Sequence[Hashable],
    pairs: Iterable[Pair | tuple[int, int]] = (),
    groups: Sequence[Hashable | None] | None = None,
) -> IntArray:
    """The family of each image (N,), numbered by the first image of each.

    Two images are in one family when a chain of byte-identical files, near-duplicates and common groups leads from
    one to the other.

    Args:
        count: N.
        digests: content of each file; None is nobody's copy.
        pairs: near-duplicates, by place.
        groups: the person's own group of each image, None where it has none.
    """
    parent = list(range(count))
    for same in (digests, groups or ()):
        assert len(same) in (0, count), (len(same), count)
        first: dict[Hashable, int] = {}
        for place, value in enumerate(same):
            if value is not None:
                _join(parent, first.setdefault(value, place), place)
    for pair in pairs:
        _join(parent, pair[0], pair[1])
    roots_N = np.array([_root(parent, place) for place in range(count)], dtype=np.intp)
    return np.unique(roots_N, return_inverse=True)[1].astype(np.intp).reshape(count)


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _join(parent: list[int], one: int, other: int) -> None:
    """The smaller root stays, so that a family is named by its first image."""
    one, other = sorted((_root(parent, one), _root(parent, other)))
    parent[other] = one


SAME_PICTURE = 0.9
"""Least correlation of aligned thumbnails with even contrast.

On photographs and scans 98 % of copies with 5 % cut off reach .97, copies at JPEG quality 40 or half the size .99;
pairs of different CIFAR-10 images stay below .87, of different tiles and textures below .9 but for regular patterns.
"""

SAME_DRAWING = 0.995
"""The same for drawings on a plain ground: different handwritten digits of MNIST reach .99.

Copies of drawings are found when they were compressed again or enlarged (.996), seldom when they were cropped.
"""

SAME_PATTERN = 0.985
"""The same for regular patterns, such as checkerboards and stripes, which must also be equally bright."""

PATTERN_DETAIL = 8.0
"""Least standard deviation of a regular pattern's detail, in gray levels; strong shading on a plain wall has less."""

SAME_EXPOSURE = (3.0, 0.05)
"""Most that mean, in gray levels, and logarithm of the contrast may differ between copies of a regular pattern."""

ASPECT_CHANGE = 0.08
"""Most that the logarithm of width over height may differ: one side cut by 5 %, and a margin."""

SMALL_SET = 300
"""Smaller sets are judged like one of this size, so that blank images with like shading do not pass there either."""

PAIRS = 256
"""Pairs aligned at once: few enough to stay in the processor's cache."""

CROPS: tuple[Window, ...] = (
    Window(0.0, 0.0, 0.0, 0.0),
    Window(0.025, 0.025, 0.025, 0.025),
    Window(0.0, 0.05, 0.0, 0.05),
    Window(0.0, 0.05, 0.05, 0.0),
    Window(0.05, 0.0, 0.0, 0.05),
    Window(0.05, 0.0, 0.05, 0.0),
)
"""Nothing, all around, and towards each corner: every other crop of 5 % is near one of them."""


SAMPLE, SAMPLE_NEAREST, SEED = 200, 3, 0
"""Images whose nearest different images are looked at to learn how alike different images are; how many; the draw."""


class Pair(NamedTuple):
    """Two images that plausibly show the same picture."""

    first: int
    """Place of the image, smaller than `second`."""
    second: int
    correlation: float
    """Of the aligned thumbnails."""
    confirmed: bool
    """Whether the two are far more alike than different images of the data set, so that it is worth an alarm."""


def near_duplicates(looks: Looks) -> tuple[Pair, ...]:
    """Pairs of images that plausibly show the same picture, byte-identical ones too, in the order of their places.

    Neither labels nor a network take part. Where an image has very many copies, only the nearest are linked to it, so
    take the pairs for links of a chain and not for all pairs of copies.
    """
    if len(looks) < 2:
        return ()
    first_P, second_P = _same_shape(looks, *candidates(looks.thumbnails_NHW, CROPS))
    deviate = _beyond_chance(len(looks))
    found: list[tuple[int, int, float]] = []
    evidence: list[Likeness] = []
    for start in range(0, len(first_P), PAIRS):
        first, second = first_P[start : start + PAIRS], second_P[start : start + PAIRS]
        aligned = _aligned(looks, first, second)
        correlation_P = _verified(aligned, deviate=deviate)
        keep = np.flatnonzero(correlation_P > 0)
        first, second = first[keep], second[keep]
        found += zip(first.tolist(), second.tolist(), correlation_P[keep].tolist(), strict=True)
        evidence.append(likeness(aligned.rows(keep), looks.colors_NHWC[first], looks.colors_NHWC[second]))
    sure = _confirmed(looks, found, evidence)
    log.info(
        "near-duplicates: %d of %d candidate pairs of %d images, %d confirmed",
        *(len(found), len(first_P), len(looks), sum(sure)),
    )
    return tuple(sorted(Pair(*pair, confirmed=yes) for pair, yes in zip(found, sure, strict=True)))


def _aligned(looks: Looks, first_P: IntArray, second_P: IntArray) -> Fit:
    thumb_NHW = looks.thumbnails_NHW
    return fit(thumb_NHW[first_P].astype(np.float32), thumb_NHW[second_P].astype(np.float32), band=FINE, starts=CROPS)


def _confirmed(looks: Looks, found: Sequence[tuple[int, int, float]], evidence: Sequence[Likeness]) -> Sequence[bool]:
    small_N = too_small(looks)
    if not found or small_N.all():
        return [False] * len(found)
    first_P, second_P = np.array([pair[:2] for pair in found], dtype=np.intp).T
    usual = strangers(_best_strangers(looks, first_P, second_P))
    drawn_P = drawn(looks.thumbnails_NHW[first_P]) | drawn(looks.thumbnails_NHW[second_P])
    whole = Likeness(*(np.concatenate(parts) for parts in zip(*evidence, strict=True)))
    sure_P = confirmed(whole, usual, images=len(looks), drawn_P=drawn_P)
    return [bool(sure) for sure in sure_P & ~small_N[first_P] & ~small_N[second_P]]


def _best_strangers(looks: Looks, first_P: IntArray, second_P: IntArray) -> npt.NDArray[np.float64]:
    """Of a sample of images, how alike the most similar image is that no chain of plausible pairs leads to.

    A chain through most of the data set is none of copies: of its images those are different that are not paired.
    """
    chain_N = family_ids(len(looks), digests=(), pairs=zip(first_P.tolist(), second_P.tolist(), strict=True))
    size_N = np.bincount(chain_N)[chain_N]
    chain_N = np.where(size_N > len(looks) / 2, chain_N.max() + 1 + np.arange(len(looks)), chain_N)
    first_P, second_P = nearest_strangers(
        *(looks.thumbnails_NHW, chain_N, (first_P, second_P)), sample=SAMPLE, nearest=SAMPLE_NEAREST, seed=SEED
    )
    best: dict[int, float] = {}
    for start in range(0, len(first_P), PAIRS):
        first, second = first_P[start : start + PAIRS], second_P[start : start + PAIRS]
        colors = looks.colors_NHWC[first], looks.colors_NHWC[second]
        for place, fine in zip(first.tolist(), likeness(_aligned(looks, first, second), *colors).fine_P, strict=True):
            best[place] = max(float(fine), best.get(place, -np.inf))
    return np.array(list(best.values()), dtype=np.float64)


def _beyond_chance(images: int) -> float:
    """The normal deviate that the best of all pairs of unrelated images would reach by chance."""
    images = max(images, SMALL_SET)
    return float(np.sqrt(2 * np.log(images * (images - 1) / 2)))


def _same_shape(looks: Looks, first_P: IntArray, second_P: IntArray) -> tuple[IntArray, IntArray]:
    """Those pairs whose shapes agree, that is within a pixel and `ASPECT_CHANGE`."""
    width_N, height_N = looks.sizes_N2.T.astype(float)
    shape_N = np.log(width_N / height_N)
    slack_N = ASPECT_CHANGE / 2 + 1 / np.minimum(width_N, height_N)
    agree_P = np.abs(shape_N[first_P] - shape_N[second_P]) <= slack_N[first_P] + slack_N[second_P]
    return first_P[agree_P], second_P[agree_P]


def _verified(aligned: Fit, *, deviate: float) -> npt.NDArray[np.float64]:
    """Correlation of each aligned pair (P,), 0 where it is not the same picture."""
    first_PHW, second_PHW = (image_PHW.astype(np.uint8) for image_PHW in (aligned.source_PHW, aligned.target_PHW))
    one_PHW, other_PHW = aligned.details(FINE)
    bold_P = np.minimum(one_PHW.std(axis=(1, 2)), other_PHW.std(axis=(1, 2))) >= PATTERN_DETAIL
    one_PHW, other_PHW = even_contrast(one_PHW), even_contrast(other_PHW)
    correlation_P = np.einsum("phw,phw->p", unit(one_PHW), unit(other_PHW)).astype(np.float64)
    freedom_P = np.minimum(freedom(one_PHW), freedom(other_PHW))
    needed_P = np.where(drawn(first_PHW) | drawn(second_PHW), SAME_DRAWING, SAME_PICTURE)
    deviate_P = np.arctanh(correlation_P.clip(-0.9999, 0.9999)) * np.sqrt(np.maximum(freedom_P - 3, 0))
    pattern_P = (correlation_P >= SAME_PATTERN) & bold_P & _same_exposure(first_PHW, second_PHW)
    certain_P = (deviate_P >= deviate) | pattern_P
    return np.where((correlation_P >= needed_P) & certain_P, correlation_P.clip(None, 1.0), 0.0)


def _same_exposure(first_PHW: npt.NDArray[np.uint8], second_PHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether both images of each pair are equally bright and rich in contrast (P,)."""
    mean_2P, std_2P = (
        np.stack([measure(image_PHW, axis=(1, 2)) for image_PHW in (first_PHW, second_PHW)])
        for measure in (np.mean, np.std)
    )
    change_P = np.abs(np.diff(np.log(np.maximum(std_2P, 1e-6)), axis=0)[0])
    return np.asarray((np.abs(np.diff(mean_2P, axis=0)[0]) <= SAME_EXPOSURE[0]) & (change_P <= SAME_EXPOSURE[1]))


FORMAT = 2
"""Raised when a search of the same images would come out otherwise than before."""


def known_near_duplicates(looks: Looks) -> tuple[Pair, ...]:
    """What `near_duplicates` finds, remembered in the cache on disk by all that it goes by."""
    memory: Memory[tuple[Pair, ...]] = Memory.of(
        "pairs", tuple[Pair, ...], FORMAT, _digest(looks), costs="searches for near-duplicates"
    )
    pairs = memory.recall()
    if pairs is None:
        pairs = near_duplicates(looks)
        memory.keep(pairs)
    return pairs


def _digest(looks: Looks) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in (looks.thumbnails_NHW, looks.sizes_N2, looks.colors_NHWC):
        digest.update(array.tobytes())
    return digest.hexdigest()
