"""error(n) = floor + scale * n ** -exponent through the points of a learning curve, and how sure its continuation is.

A few noisy points hardly tell a floor from a small exponent, least of all where the curve is almost flat. The best law
alone would then be sure of whatever the noise suggests, so all laws count, each by its likelihood. Before the points
are seen any exponent is as credible as any other, on a logarithmic scale, and so is any floor as a share of the error
at the largest size, on the scale of that share's standard error: no floor at all and nothing but floor are real cases,
and must not be crowded out by what lies between. What the points do not tell stays open, and the forecast's interval
is as wide as that.

Shapes: S sizes, C chains (each a nested sequence of subsets with images of its own to be judged on), L laws, F sizes
in units of the largest, G errors.

Sources: Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves: asymptotic values and rate of convergence", NIPS
1993; Gelman et al., "Bayesian Data Analysis", 2013, chapter 3 (a posterior on a grid); Agresti and Coull, "Approximate
is better than exact for interval estimation of binomial proportions", The American Statistician 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from finetune_advisor.artifacts.profile import Forecast, PowerLaw

EXPONENTS = np.geomspace(0.1, 2, 40)
FLOOR_SHARES = np.sin(np.linspace(0, np.pi / 2, 42)[:-1]) ** 2
"""Floors as shares of the error at the largest size: Jeffreys' prior of a share, as a grid of even weights."""

FEWEST_POINTS = 4
"""Three points are met exactly by many laws."""

APART = 0.3
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
    correlation_SS = (1 - APART) * seen_SS / np.outer(seen_S, seen_S)
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
