"""Axes: values go where NumPy says, ticks are round, labels do not touch."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_advisor.reporting.charts import Scale, apart, log_ticks, path, ticks


def test_a_scale_is_linear_interpolation() -> None:
    scale = Scale(-2, 6, 300, 20)
    for value in np.linspace(-4, 8, 13):
        assert scale(value) == pytest.approx(np.interp(value, [-2, 6], [300, 20]), abs=0.051)


def test_a_logarithmic_scale_has_a_decade_the_same_length_everywhere() -> None:
    scale = Scale(10, 10_000, 0, 300, logarithmic=True)
    assert [scale(value) for value in (10, 100, 1000, 10_000)] == [0, 100, 200, 300]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.781, 0.932), (0.9950, 0.9981), (0, 0.04), (3, 9_000)])
def test_ticks_are_round_few_inside_and_evenly_apart(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 5
    assert low <= found[0] + 1e-9 and found[-1] - 1e-9 <= high
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    assert f"{steps[0]:.0e}"[0] in "125"


def test_ticks_of_nothing_are_one() -> None:
    assert ticks(0.5, 0.5) == (0.5,)


@pytest.mark.parametrize(("low", "high"), [(90, 9_000), (5, 6e6), (120, 700), (1, 2)])
def test_logarithmic_ticks_lie_inside(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert found and all(low <= tick <= high for tick in found)
    assert len(found) <= 9


def test_labels_are_moved_apart_in_order_and_no_farther_than_needed() -> None:
    wished = [50.0, 10.0, 52.0, 51.0, 90.0]
    moved = apart(wished, 12, 0, 200)
    assert np.argsort(moved).tolist() == np.argsort(wished).tolist()
    assert np.diff(sorted(moved)).min() >= 12 - 0.11
    assert (moved[1], moved[4]) == (10, 90)
    # Least squares keeps the mean of a crowd where it was.
    assert np.mean([moved[0], moved[2], moved[3]]) == pytest.approx(51, abs=0.1)


def test_labels_stay_within_the_drawing() -> None:
    moved = apart([99, 99, 100, 1, 0], 10, 0, 100)
    assert min(moved) >= 0 and max(moved) <= 100


def test_a_path_goes_through_its_points() -> None:
    assert path([(1, 2), (3, 4.25)]) == "M1.0,2.0L3.0,4.2"
