"""The interval of a test accuracy, against simulations that know the truth."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_advisor.metrics import wilson_interval
from finetune_advisor.probes.interval import CHOSEN, FIXED, interval


def width(accuracy: float = 0.9, **settings: float | int | None) -> float:
    values: dict[str, object] = {"images": 400, "std": 0.015, "optimism": FIXED, **settings}
    low, high = interval(accuracy, **values)  # type: ignore[arg-type]
    return high - low


def test_with_endless_images_to_test_on_it_is_nearly_the_interval_of_a_share() -> None:
    low, high = interval(0.9, images=4000, std=0.0, optimism=FIXED, exponent=0.0)
    assert (low, high) == pytest.approx(wilson_interval(3600, 4000), abs=5e-4)


def test_a_small_test_set_makes_it_wider() -> None:
    assert width(test_images=50) > width(test_images=400) > width(test_images=None)
    assert width(test_images=400) == pytest.approx(np.sqrt(2) * width(), rel=0.1), "both are equally noisy"


def test_images_that_are_relatives_count_less_on_both_sides() -> None:
    assert width(std=0.03, test_images=400) == pytest.approx(2 * width(std=0.015, test_images=400), rel=0.1)


def test_choice_of_the_best_place_lowers_it() -> None:
    fixed, chosen = (interval(0.8, images=400, std=0.02, optimism=optimism) for optimism in (FIXED, CHOSEN))
    assert chosen[0] < fixed[0] and chosen[1] < fixed[1]


def test_learning_from_all_images_raises_it() -> None:
    flat, steep = (interval(0.7, images=400, std=0.02, optimism=FIXED, exponent=exponent) for exponent in (0.0, 0.5))
    assert steep[0] > flat[0] - 0.005 and steep[1] > flat[1]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_a_probe_without_errors_is_not_certain(accuracy: float) -> None:
    low, high = interval(accuracy, images=30, std=0.0, optimism=CHOSEN, test_images=30)
    assert 0 <= low <= high <= 1
    assert 0.05 < high - low < 0.5


@pytest.mark.parametrize(("truth", "images", "test_images"), [(0.7, 300, 150), (0.93, 200, 400), (0.98, 100, 100)])
def test_it_contains_the_test_accuracy_nineteen_times_in_twenty(truth: float, images: int, test_images: int) -> None:
    """Of independent images and a classifier that is as good on folds as later."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        share = rng.binomial(images, truth) / images
        std = float(np.sqrt(share * (1 - share) / images))
        low, high = interval(share, images=images, std=std, optimism=FIXED, test_images=test_images, exponent=0.0)
        inside += low <= rng.binomial(test_images, truth) / test_images <= high
    assert 0.93 <= inside / 2000 <= 0.99


def test_it_contains_it_where_ten_images_at_a_time_are_right_or_wrong() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(1000):
        folds_F, test_F = rng.random(60) < 0.75, rng.random(40) < 0.75
        std = float(folds_F.std(ddof=1) / np.sqrt(60))
        low, high = interval(float(folds_F.mean()), images=600, std=std, optimism=FIXED, test_images=400, exponent=0.0)
        inside += low <= test_F.mean() <= high
    assert 0.92 <= inside / 1000 <= 0.99
