"""Images that show the same picture: resized, compressed again, slightly cropped, or at another exposure.

Thumbnails are compared by what lies between their coarse and their fine detail, so brightness, contrast and slow
changes of the light do not count. Candidates come from one product of matrices for each of a few crops; each is then
aligned (a crop of one image onto the other, found by Gauss-Newton steps) and compared with local contrast made even.
A pair is plausible when the correlation is high and too high for chance, given how much independent detail the images
have; splits and folds keep plausible pairs together. It is confirmed when different images of the data set never agree
so well (`confirmation`); only confirmed pairs are worth an alarm.

Shapes: N images, P pairs, H height and W width of a thumbnail.

Sources: image alignment: Lucas and Kanade, "An iterative image registration technique", IJCAI 1981. Normal deviate of a
correlation: Fisher, "On the probable error of a coefficient of correlation", Metron 1921.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.alignment import Fit, Window, even_contrast, fit, unit
from finetune_advisor.data.confirmation import Likeness, confirmed, freedom, likeness, strangers, too_small
from finetune_advisor.data.copy_candidates import FINE, candidates, drawn, nearest_strangers
from finetune_advisor.data.families import family_ids
from finetune_advisor.data.looks import Looks

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.intp]

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


SAMPLE, NEAREST, SEED = 200, 3, 0
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
        *(looks.thumbnails_NHW, chain_N, (first_P, second_P)), sample=SAMPLE, nearest=NEAREST, seed=SEED
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
