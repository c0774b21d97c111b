"""The laws through a learning curve, against curves whose law is known.

Shapes: S sizes, C chains, N images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtri

from finetune_advisor.analysis.learning_curve import covariance, credible_laws
from finetune_advisor.records.profile import Forecast

Floats = npt.NDArray[np.floating]

SIZES: Floats = np.array([25.0, 50, 100, 200, 400])
LATER = 4000.0
DRAWS, FOLDS = 3, 5
SURE: Floats = np.eye(5) * 0.002**2


def law(images: Floats | float, floor: float, scale: float, exponent: float) -> Floats:
    return np.asarray(floor + scale * np.asarray(images, float) ** -exponent)


def chains(error_S: Floats, *, images: int, seed: int) -> Floats:
    """Errors of each chain where an image is hard or easy: its answers agree over the sizes and the draws (C, S).

    Whether an answer is wrong is drawn from a normal deviate, which is the image's by 72 %, the chain's by 9 %.
    """
    rng = np.random.default_rng(seed)
    hard_N = rng.normal(size=images)
    chains: list[Floats] = []
    for _ in range(DRAWS):
        chance_NS = 0.3 * rng.normal(size=(images, 1)) + np.sqrt(0.19) * rng.normal(size=(images, len(error_S)))
        wrong_NS = np.sqrt(0.72) * hard_N[:, None] + chance_NS > ndtri(1 - error_S)
        chains += [wrong_NS[judges].mean(axis=0) for judges in np.array_split(rng.permutation(images), FOLDS)]
    return np.stack(chains)


def forecast(sizes_S: Floats, error_CS: Floats, *, images: int, later: float) -> Forecast:
    spread_SS = covariance(error_CS, draws=DRAWS, judged=images)
    return credible_laws(sizes_S, error_CS.mean(axis=0), spread_SS).forecast(later)


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.1, 2.0, 0.5), (0.02, 0.6, 0.2), (0.05, 10.0, 1.5)])
def test_a_curve_without_noise_goes_on_as_its_law_does(floor: float, scale: float, exponent: float) -> None:
    found = credible_laws(SIZES, law(SIZES, floor, scale, exponent), SURE)
    middle = found.middle()
    assert law(SIZES, middle.floor, middle.scale, middle.exponent) == pytest.approx(
        law(SIZES, floor, scale, exponent), abs=0.005
    )
    later, truth = found.forecast(LATER), 1 - float(law(LATER, floor, scale, exponent))
    assert later.low <= truth <= later.high
    assert later.accuracy == pytest.approx(truth, abs=0.03)


@pytest.mark.parametrize("images", [100, 245])
@pytest.mark.parametrize(
    ("end", "share", "exponent"),
    [(0.05, 0.9, 0.6), (0.05, 0.5, 0.5), (0.05, 0.0, 0.3), (0.06, 0.95, 1.0), (0.2, 0.5, 0.5), (0.3, 0.8, 0.4)],
)
def test_the_interval_contains_what_comes(images: int, end: float, share: float, exponent: float) -> None:
    """Small and nearly saturated sets too, where the points hardly tell a floor from a small exponent."""
    sizes_S = 0.8 * images / 400 * SIZES
    floor, scale = share * end, (1 - share) * end * sizes_S[-1] ** exponent
    truth = 1 - float(law(10 * images, floor, scale, exponent))
    error_S = law(sizes_S, floor, scale, exponent)
    found = [
        forecast(sizes_S, chains(error_S, images=images, seed=seed), images=images, later=10 * images)
        for seed in range(100)
    ]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.85


def test_a_flat_end_among_few_images_leaves_open_whether_it_is_the_floor() -> None:
    """The errors of 245 photographs of two insects: the best law alone says that no image more would help."""
    error_CS = chains(np.array([0.12, 0.075, 0.06, 0.058, 0.058]), images=245, seed=0)
    found = forecast(SIZES / 2, error_CS, images=245, later=2450)
    now = 1 - float(error_CS[:, -1].mean())
    assert found.high - now > 0.02, "half of the errors may go"
    assert found.low < now


def test_more_images_make_the_forecast_surer() -> None:
    few, many = (
        forecast(SIZES, chains(law(SIZES, 0.1, 2.0, 0.5), images=images, seed=0), images=images, later=LATER)
        for images in (150, 3000)
    )
    assert many.high - many.low < 0.7 * (few.high - few.low)


def test_images_that_judge_in_every_draw_count_once() -> None:
    """The covariance is about that of the mean error over new images, which repeated draws do not make surer."""
    error_S = law(SIZES, 0.1, 2.0, 0.5)
    curves = [chains(error_S, images=400, seed=seed) for seed in range(200)]
    between_S = np.var([error_CS.mean(axis=0) for error_CS in curves], axis=0, ddof=1)
    claimed_S = np.mean([np.diag(covariance(each, draws=DRAWS, judged=400)) for each in curves], axis=0)
    assert np.all(claimed_S > 0.9 * between_S)
    assert np.all(claimed_S < 3 * between_S)


def test_no_errors_among_few_images_are_not_certainly_none() -> None:
    error_CS = np.zeros((15, 5))
    error_CS[:, 0] = 0.1
    assert np.all(np.diag(covariance(error_CS, draws=DRAWS, judged=50)) > 0)
