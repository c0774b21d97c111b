"""The law through a learning curve, against curves whose law is known and against scipy.

Shapes: S sizes, C chains.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import curve_fit

from finetune_advisor.analysis.power_law import fit_power_law, forecast

SIZES: npt.NDArray[np.floating] = np.array([25.0, 50, 100, 200, 400])
EVEN: npt.NDArray[np.floating] = np.ones(5)


def law(images: npt.NDArray[np.floating], floor: float, scale: float, exponent: float) -> npt.NDArray[np.floating]:
    return np.asarray(floor + scale * images**-exponent)


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.1, 2.0, 0.5), (0.0, 0.6, 0.2), (0.05, 10.0, 1.5)])
def test_a_curve_that_follows_a_law_gives_the_law(floor: float, scale: float, exponent: float) -> None:
    found = fit_power_law(SIZES, law(SIZES, floor, scale, exponent), EVEN)
    assert found is not None
    assert (found.floor, found.scale, found.exponent) == pytest.approx((floor, scale, exponent), rel=1e-6, abs=1e-9)


def test_weighted_least_squares_are_scipys() -> None:
    rng = np.random.default_rng(2)
    error_S = law(SIZES, 0.08, 1.5, 0.55) + rng.normal(scale=0.004, size=5)
    deviation_S = np.array([0.01, 0.008, 0.006, 0.005, 0.004])
    found = fit_power_law(SIZES, error_S, deviation_S**-2)
    expected, _ = curve_fit(
        law, SIZES, error_S, p0=(0.05, 1, 0.5), sigma=deviation_S, bounds=([0, 0, 0.01], [1, 99, 2])
    )
    assert found is not None
    assert law(SIZES, found.floor, found.scale, found.exponent) == pytest.approx(law(SIZES, *expected), abs=2e-4)
    assert found.exponent == pytest.approx(expected[2], abs=0.02)


def test_a_floor_is_never_below_zero() -> None:
    found = fit_power_law(SIZES, 0.5 - 0.08 * np.log10(SIZES), EVEN)
    assert found is not None and found.floor >= 0


def test_a_curve_that_rises_has_no_law() -> None:
    assert fit_power_law(SIZES, np.array([0.1, 0.11, 0.12, 0.12, 0.13]), EVEN) is None
    assert forecast(SIZES, np.tile([0.1, 0.11, 0.12, 0.12, 0.13], (3, 1)), EVEN, images=4000, seed=0) is None


def test_the_interval_contains_what_comes_nineteen_times_in_twenty() -> None:
    """Chains with independent noise around a known law; 10 times the images are forecast 200 times."""
    rng = np.random.default_rng(0)
    truth = float(law(np.array([4000.0]), 0.1, 2.0, 0.5)[0])
    deviation_S = np.array([0.02, 0.015, 0.012, 0.01, 0.008])
    inside = 0
    for _ in range(200):
        error_CS = law(SIZES, 0.1, 2.0, 0.5) + rng.normal(size=(15, 5)) * deviation_S
        found = forecast(SIZES, error_CS, deviation_S**-2, images=4000, seed=1)
        assert found is not None
        inside += found.low <= 1 - truth <= found.high
    assert 0.88 <= inside / 200 <= 1


def test_more_chains_make_the_forecast_surer() -> None:
    rng = np.random.default_rng(0)
    error_CS = law(SIZES, 0.1, 2.0, 0.5) + rng.normal(size=(60, 5)) * 0.02
    few = forecast(SIZES, error_CS[:6], EVEN, images=4000, seed=0)
    many = forecast(SIZES, error_CS, EVEN, images=4000, seed=0)
    assert few is not None and many is not None
    assert many.high - many.low < few.high - few.low
