"""What a linear classifier learns from parts of the images: its learning curve, and the law behind it.

Shapes: N images, D features, K classes, C chains, S sizes, P problems.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor import logistic
from finetune_advisor.analysis.power_law import FEWEST_POINTS, covariance, credible_laws
from finetune_advisor.analysis.probes import LEAST_PER_CLASS, stratified
from finetune_advisor.artifacts.profile import CurvePoint, Forecast, PowerLaw
from finetune_advisor.data.split import stratified_folds

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the images outside the fold that judges."""

DRAWS = 3
"""Orders in which images are added, each with folds of its own."""

FOLDS = 5

LEAST_IN_SUBSET = 2
"""Images of each class in the smallest subset, as far as the class has them."""

APART = 1.3
"""Sizes nearer to each other than this factor say the same twice; the smaller one is left out."""

MOST_IMAGES = 4000
MOST_NUMBERS = 250_000
"""Images times classes."""

MOST_WORK = 2**25
"""Images times classes times axes of the features. With the two bounds above, a curve takes less than about ten seconds
on two cores whatever the data."""

TIMES = 10
"""The forecast is of so many times the images."""

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Curve:
    """The points, and the law through them where they determine one."""

    points: tuple[CurvePoint, ...]
    power_law: PowerLaw | None = None
    forecast: Forecast | None = None


def learning_curve(
    features: Callable[[IntArray], FloatArray],
    labels_N: IntArray,
    *,
    family_N: IntArray,
    classes: int,
    strength: float,
    images: int,
    seed: int,
    device: str,
) -> Curve:
    """Fit a probe on nested subsets and judge it on images of other families.

    Families take turns, one after another, until every class has its share: a smaller subset is part of the larger ones
    of the same chain. No strength is searched. A prior weighs the same whatever the data, so `strength` is
    that of all images and a part of them gets so many times more, the loss being a mean; a third and three times of
    that move the accuracies of real data by less than a point.

    Args:
        features: reads the raw features (M, D) of the place to look at, of M of the N images.
        labels_N: class indices.
        family_N: images with the same number stay together.
        classes: K.
        strength: L2 strength that suits all N images.
        images: those of the whole data set; the forecast is of ten times as many.
        seed: of the draws and folds.
        device: where the products run.
    """
    if classes * LEAST_PER_CLASS * 2 > MOST_IMAGES:
        log.info("no learning curve: %d classes leave too few images of each in %d", classes, MOST_IMAGES)
        return Curve(())
    index_N = stratified(labels_N, min(MOST_IMAGES, max(MOST_NUMBERS // classes, 2 * LEAST_PER_CLASS * classes)))
    strength = strength * len(labels_N) / len(index_N)
    x_ND, labels_N, family_N = features(index_N), labels_N[index_N], family_N[index_N]
    judge_CN, orders = _chains(labels_N, family_N, seed)
    images_S, accuracy_CS = _accuracies(x_ND, labels_N, judge_CN, orders, classes, strength, device)
    points = tuple(
        CurvePoint(images=float(count), accuracy=float(accuracies.mean()), std=_spread(accuracies))
        for count, accuracies in zip(images_S, accuracy_CS.T, strict=True)
    )
    return _with_law(points, images_S, 1 - accuracy_CS, images=images, judged=len(labels_N))


def _spread(accuracy_C: FloatArray) -> float:
    """Standard deviation between draws, each the mean of its folds."""
    return float(accuracy_C.reshape(DRAWS, -1).mean(axis=1).std(ddof=1))


def _with_law(
    points: tuple[CurvePoint, ...], images_S: FloatArray, error_CS: FloatArray, *, images: int, judged: int
) -> Curve:
    error_S = error_CS.mean(axis=0)
    if len(points) < FEWEST_POINTS:
        log.info("no power law: the learning curve has %d points, it takes %d", len(points), FEWEST_POINTS)
    elif error_S[-1] <= 0:
        log.info("no power law: the probe makes no errors with all images")
    elif error_S[-1] >= error_S[0]:
        log.info("no power law: more images do not help the probe")
    else:
        spread_SS = covariance(error_CS, draws=DRAWS, judged=judged)
        laws = credible_laws(images_S, error_S, spread_SS)
        return Curve(points, laws.middle(), laws.forecast(float(TIMES * images)))
    return Curve(points)


def _chains(labels_N: IntArray, family_N: IntArray, seed: int) -> tuple[npt.NDArray[np.bool_], list[IntArray]]:
    """For each chain, whether an image judges (C, N), and the others' places in the order of their turn."""
    judges: list[npt.NDArray[np.bool_]] = []
    orders: list[IntArray] = []
    folds = max(2, min(FOLDS, len(np.unique(family_N)), int(np.bincount(labels_N)[np.unique(labels_N)].min())))
    for draw in range(DRAWS):
        fold_N = stratified_folds(np.asarray(labels_N, np.int64), folds, seed=seed + draw, groups_N=family_N)
        turn_F = np.random.default_rng((seed, draw)).permutation(family_N.max() + 1)
        order_N = np.lexsort((np.arange(len(labels_N)), turn_F[family_N]))
        for fold in range(folds):
            held_out_N = fold_N == fold
            if held_out_N.any():
                judges.append(held_out_N)
                orders.append(order_N[~held_out_N[order_N]])
    return np.stack(judges), orders


def _accuracies(
    x_ND: FloatArray,
    labels_N: IntArray,
    judge_CN: npt.NDArray[np.bool_],
    orders: list[IntArray],
    classes: int,
    strength: float,
    device: str,
) -> tuple[FloatArray, FloatArray]:
    """Mean number of training images of each size (S,), and the accuracies (C, S)."""
    weight_SCN = [np.stack([_subset(order, labels_N, fraction) for order in orders]) for fraction in FRACTIONS]
    images_S = [float(weight_CN.sum(axis=1).mean()) for weight_CN in weight_SCN]
    apart = [now for now, following in enumerate(images_S[1:]) if following >= APART * images_S[now]]
    kept = [*apart, len(images_S) - 1]
    weight_PN = np.concatenate([weight_SCN[s] for s in kept])
    logits_PNK = logistic.fit_many(
        x_ND,
        labels_N,
        weight_PN,
        strength * len(labels_N) / weight_PN.sum(axis=1),
        classes=classes,
        together=len(orders) // DRAWS,
        most_axes=max(1, MOST_WORK // (len(labels_N) * classes)),
        device=device,
    )
    hit_SCN = (logits_PNK.argmax(axis=2) == labels_N).reshape(len(kept), len(orders), -1)
    accuracy_SC = (hit_SCN & judge_CN).sum(axis=2) / judge_CN.sum(axis=1)
    return np.array([images_S[s] for s in kept]), accuracy_SC.T


def _subset(order: IntArray, labels_N: IntArray, fraction: float) -> FloatArray:
    """Weight one for the first images of each class in their turn, zero for all others (N,)."""
    weight_N = np.zeros(len(labels_N))
    for label in np.unique(labels_N[order]):
        places_M = order[labels_N[order] == label]
        weight_N[places_M[: max(LEAST_IN_SUBSET, round(fraction * len(places_M)))]] = 1
    return weight_N
