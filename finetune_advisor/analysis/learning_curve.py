"""What a linear classifier learns from parts of the images, and the power law through it.

A few noisy points hardly tell a floor from a small exponent, least of all where the curve is almost flat. The best law
alone would then be sure of whatever the noise suggests, so all laws count, each by its likelihood. Before the points
are seen any exponent is as credible as any other, on a logarithmic scale, and so is any floor as a share of the error
at the largest size, on the scale of that share's standard error: no floor at all and nothing but floor are real cases,
and must not be crowded out by what lies between. What the points do not tell stays open, and the forecast's interval
is as wide as that.

Sources: Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves: asymptotic values and rate of convergence", NIPS
1993; Gelman et al., "Bayesian Data Analysis", 2013, chapter 3 (a posterior on a grid); Agresti and Coull, "Approximate
is better than exact for interval estimation of binomial proportions", The American Statistician 1998.

Shapes: S sizes, C chains (each a nested sequence of subsets with images of its own to be judged on), L laws, F sizes
in units of the largest, G errors, N images, D features, K classes, C chains, P problems.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from finetune_advisor.analysis.probes import LEAST_PER_CLASS, stratified
from finetune_advisor.images.split import stratified_folds
from finetune_advisor.probes import logistic
from finetune_advisor.records.profile import CurvePoint, Forecast, PowerLaw

log = logging.getLogger(__name__)

EXPONENTS = np.geomspace(0.1, 2, 40)
FLOOR_SHARES = np.sin(np.linspace(0, np.pi / 2, 42)[:-1]) ** 2
"""Floors as shares of the error at the largest size: Jeffreys' prior of a share, as a grid of even weights."""

FEWEST_POINTS = 4
"""Three points are met exactly by many laws."""

POINTS_APART = 0.3
"""Weight of sizes that err independently in the covariance: what a dozen chains say is too noisy to be inverted."""

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Laws:
    """Laws with how credible each is, given the points of a curve."""

    largest: float
    """Images at the last point, where each law's error is `end_L`."""
    end_L: FloatArray
    end_std_L: FloatArray
    share_L: FloatArray
    exponent_L: FloatArray
    weight_L: FloatArray

    def middle(self) -> PowerLaw:
        """The law nearest to the mean of all, from the first point on to ten times the last."""
        far_F = np.geomspace(0.1, 10, 9)
        error_LF = self.end_L[:, None] * self._left(far_F)
        best = int(((error_LF - self.weight_L @ error_LF) ** 2).sum(axis=1).argmin())
        end, share, exponent = (float(each[best]) for each in (self.end_L, self.share_L, self.exponent_L))
        return PowerLaw(floor=share * end, scale=(1 - share) * end * self.largest**exponent, exponent=exponent)

    def forecast(self, images: float) -> Forecast:
        """What the law in the middle says of another number of images, and where 95 % of what is credible lies."""
        law = self.middle()
        accuracy = 1 - law.floor - law.scale * images**-law.exponent
        left_L = self._left(np.array([images / self.largest]))[:, 0]
        error_G = np.linspace(0, 1, 251)
        deviates_GL = (error_G[:, None] - left_L * self.end_L) / (left_L * self.end_std_L)
        below_G = torch.special.ndtr(torch.from_numpy(deviates_GL)).numpy() @ self.weight_L
        high, low = 1 - np.interp([0.025, 0.975], below_G, error_G)
        return Forecast(
            images=images, accuracy=accuracy, low=float(min(low, accuracy)), high=float(max(high, accuracy))
        )

    def _left(self, times_F: FloatArray) -> FloatArray:
        """Share of the error at the last point that is left at so many times its images (L, F)."""
        return _shape(self.share_L, self.exponent_L, times_F)


def _shape(share_L: FloatArray, exponent_L: FloatArray, times_F: FloatArray) -> FloatArray:
    share_L1, exponent_L1 = share_L[:, None], exponent_L[:, None]
    return np.asarray(share_L1 + (1 - share_L1) * times_F**-exponent_L1)


def covariance(error_CS: FloatArray, *, draws: int, judged: int) -> FloatArray:
    """Covariance between sizes of the mean error over chains (S, S).

    Chains of different draws are judged on the same images, so that only those of one draw count as independent; and no
    size is surer than the number of images that judge it allows.

    Args:
        error_CS: share of wrong answers.
        draws: how often each image judges.
        judged: how many do.
    """
    error_S = error_CS.mean(axis=0)
    # As if there were two more errors and two more right answers: no errors among few images are not certainly none.
    share_S = (error_S * judged + 2) / (judged + 4)
    seen_SS = np.cov(error_CS, rowvar=False) * draws / len(error_CS)
    deviation_S = np.sqrt(np.maximum(np.diag(seen_SS), share_S * (1 - share_S) / judged))
    seen_S = np.sqrt(np.maximum(np.diag(seen_SS), np.finfo(float).tiny))
    correlation_SS = (1 - POINTS_APART) * seen_SS / np.outer(seen_S, seen_S)
    np.fill_diagonal(correlation_SS, 1.0)
    return np.asarray(correlation_SS * np.outer(deviation_S, deviation_S))


def credible_laws(images_S: FloatArray, error_S: FloatArray, covariance_SS: FloatArray) -> Laws:
    """All laws with their posterior weight; the error at the largest size is a linear problem for each.

    Args:
        images_S: training images of each point.
        error_S: share of wrong answers.
        covariance_SS: of these shares.
    """
    share_L, exponent_L = (grid.ravel() for grid in np.meshgrid(FLOOR_SHARES, EXPONENTS))
    largest = float(images_S.max())
    shape_LS = _shape(share_L, exponent_L, images_S / largest)
    precision_SS = np.linalg.inv(covariance_SS)
    known_L = ((shape_LS @ precision_SS) * shape_LS).sum(axis=1)
    end_L = shape_LS @ precision_SS @ error_S / known_L
    miss_LS = error_S - end_L[:, None] * shape_LS
    log_L = -0.5 * (((miss_LS @ precision_SS) * miss_LS).sum(axis=1) + np.log(known_L))
    weight_L = np.exp(log_L - log_L.max())
    return Laws(largest, end_L, known_L**-0.5, share_L, exponent_L, weight_L / weight_L.sum())


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
