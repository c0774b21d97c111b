"""error(n) = floor + scale * n ** -exponent through the points of a learning curve, and how sure its continuation is.

Shapes: S sizes, C chains (each a nested sequence of subsets with images of its own to be judged on), B curves, E
exponents that are tried.

Sources: Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves: asymptotic values and rate of convergence", NIPS
1993; Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.profile import Forecast, PowerLaw

EXPONENTS = np.concatenate([np.arange(1, 100) / 100, np.arange(50, 101) / 50])
"""That are tried: for each of them floor and scale are a small linear problem, so the best of all is certain."""

FEWEST_POINTS = 4
"""Three points are met exactly by many laws."""

BOOTSTRAPS = 400

FloatArray = npt.NDArray[np.floating]


def fit_power_law(images_S: FloatArray, error_S: FloatArray, weight_S: FloatArray) -> PowerLaw | None:
    """The law with the least weighted squares, floor >= 0 and 0 < exponent <= 2; None where nothing falls.

    Args:
        images_S: training images of each point.
        error_S: share of wrong answers.
        weight_S: one over the variance of each.
    """
    floor_B, scale_B, exponent_B = _fit(images_S, error_S[None], weight_S)
    if scale_B[0] <= 0:
        return None
    return PowerLaw(floor=float(floor_B[0]), scale=float(scale_B[0]), exponent=float(exponent_B[0]))


def forecast(
    images_S: FloatArray, error_CS: FloatArray, weight_S: FloatArray, *, images: float, seed: int
) -> Forecast | None:
    """What the law says of another number of images, with a bootstrap interval over the chains; None without a law."""
    law = fit_power_law(images_S, error_CS.mean(axis=0), weight_S)
    if law is None:
        return None
    rng = np.random.default_rng(seed)
    chains = len(error_CS)
    drawn_BS = np.stack([error_CS[rng.integers(chains, size=chains)].mean(axis=0) for _ in range(BOOTSTRAPS)])
    floor_B, scale_B, exponent_B = _fit(images_S, drawn_BS, weight_S)
    later_B = floor_B + scale_B * images**-exponent_B
    middle = law.floor + law.scale * images**-law.exponent
    low, high = 1 - np.quantile(later_B, [0.975, 0.025])
    accuracy = 1 - middle
    return Forecast(images=images, accuracy=accuracy, low=float(min(low, accuracy)), high=float(max(high, accuracy)))


def _fit(images_S: FloatArray, error_BS: FloatArray, weight_S: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Floor, scale and exponent of each curve (B,); the scale is 0 where a constant fits best."""
    # In units of the largest size, so that powers keep their precision.
    relative_S = images_S / images_S.max()
    share_S = weight_S / weight_S.sum()
    power_ES = relative_S ** -EXPONENTS[:, None]
    power_mean_E = power_ES @ share_S
    error_mean_B = error_BS @ share_S
    spread_E = (power_ES**2) @ share_S - power_mean_E**2
    slope_BE = ((error_BS * share_S) @ power_ES.T - error_mean_B[:, None] * power_mean_E) / spread_E
    floor_BE = error_mean_B[:, None] - slope_BE * power_mean_E
    # Where the floor would be negative it is 0, and the scale alone is fitted.
    through_BE = ((error_BS * share_S) @ power_ES.T) / ((power_ES**2) @ share_S)
    sunk_BE = floor_BE < 0
    slope_BE, floor_BE = np.where(sunk_BE, through_BE, slope_BE), np.where(sunk_BE, 0.0, floor_BE)
    rising_BE = slope_BE < 0
    slope_BE, floor_BE = np.where(rising_BE, 0.0, slope_BE), np.where(rising_BE, error_mean_B[:, None], floor_BE)
    miss_BES = floor_BE[:, :, None] + slope_BE[:, :, None] * power_ES - error_BS[:, None, :]
    best_B = ((miss_BES**2) @ share_S).argmin(axis=1)
    row_B = np.arange(len(error_BS))
    exponent_B = EXPONENTS[best_B]
    return floor_BE[row_B, best_B], slope_BE[row_B, best_B] * images_S.max() ** exponent_B, exponent_B
