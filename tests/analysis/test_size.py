"""How much data there is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from finetune_advisor.analysis.analyze import size_of
from finetune_advisor.analysis.learning_curve import Curve
from finetune_advisor.records.profile import CurvePoint, Forecast, PowerLaw


def test_even_classes_count_as_many_as_there_are() -> None:
    size = size_of(np.array([25, 25, 25, 25]))
    assert size.images == 100
    assert size.effective_classes == pytest.approx(4)
    assert size.per_effective_class == pytest.approx(size.per_class) == pytest.approx(25)
    assert size.smallest_class == 25


def test_effective_classes_are_the_perplexity_of_the_labels() -> None:
    counts = [635, 77, 68, 56, 38, 21]
    size = size_of(np.array(counts))
    assert size.effective_classes == pytest.approx(np.exp(entropy(counts)))
    assert size.per_class == pytest.approx(sum(counts) / 6)
    assert size.smallest_class == 21


def test_without_a_curve_there_is_no_forecast() -> None:
    size = size_of(np.array([2, 3]))
    assert size.learning_curve == () and size.power_law is None and size.forecast is None


def test_the_curve_is_part_of_the_size() -> None:
    law = PowerLaw(floor=0.0, scale=0.5, exponent=0.5)
    later = Forecast(images=100, accuracy=0.95, low=0.9, high=0.97)
    curve = Curve((CurvePoint(images=10, accuracy=0.8, std=0.01),), law, later)
    size = size_of(np.array([5, 5]), curve=curve)
    assert (size.learning_curve, size.power_law, size.forecast) == (curve.points, law, later)
