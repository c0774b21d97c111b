"""How much data there is, as one number; where plenty begins follows the learning curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from finetune_advisor.advice.sentences import amount_reason
from finetune_advisor.advice.table import calibration, error_reduction, place, plenty_per_class
from finetune_advisor.analysis.analyze import size_of
from finetune_advisor.records.profile import CurvePoint, Forecast, Profile

MakeProfile = Callable[..., Profile]
Facts = Callable[..., dict[str, Any]]


def amount(profile: Profile) -> float:
    found = place(profile).size.amount
    assert found is not None
    return found


@pytest.mark.parametrize("per_class", [1, 20, 122, 200, 314, 5000, 10**7])
def test_without_a_curve_it_is_a_logistic_function_of_the_images(make_profile: MakeProfile, per_class: int) -> None:
    borders = calibration().amount
    expected = expit(borders.per_decade * np.log10(per_class / borders.plenty_per_class))
    assert amount(make_profile(per_class=per_class)) == pytest.approx(expected)


def test_more_images_are_always_more(full_profile: MakeProfile) -> None:
    amounts = [amount(full_profile(per_class=per_class)) for per_class in (1, 5, 20, 80, 199, 200, 201, 900, 5000)]
    assert amounts == sorted(set(amounts))
    assert 0 < amounts[0] < amounts[-1] < 1


def test_the_reduction_is_that_of_the_errors(make_profile: MakeProfile, forecast: Facts) -> None:
    profile = make_profile(curve=forecast(now=0.8, later=0.95, half=0.0196))
    reduction = error_reduction(profile.size)
    assert reduction is not None
    assert reduction.share == pytest.approx(0.75)
    assert reduction.std == pytest.approx(0.05, rel=1e-3)


def test_the_reduction_starts_from_the_curve_where_there_is_no_law(make_profile: MakeProfile) -> None:
    points = tuple(CurvePoint(images=n, accuracy=accuracy, std=0.01) for n, accuracy in ((50, 0.6), (100, 0.8)))
    later = Forecast(images=1000, accuracy=0.9, low=0.9, high=0.9)
    profile = make_profile(curve={"learning_curve": points, "forecast": later})
    reduction = error_reduction(profile.size)
    assert reduction is not None and reduction.share == pytest.approx(0.5)


@pytest.mark.parametrize(("now", "later"), [(1.0, 1.0), (1.0, 0.9), (0.0, 1.0), (0.5, 0.5)])
def test_extreme_curves_still_give_a_share(
    make_profile: MakeProfile, forecast: Facts, now: float, later: float
) -> None:
    profile = make_profile(curve=forecast(now=now, later=later, half=0.05))
    reduction = error_reduction(profile.size)
    assert reduction is not None and 0 <= reduction.share <= 1
    assert 0 < amount(profile) < 1


def test_a_steep_curve_asks_for_more_images_and_a_flat_one_for_fewer(
    make_profile: MakeProfile, forecast: Facts
) -> None:
    flat, usual, steep = (
        plenty_per_class(make_profile(curve=forecast(now=0.8, later=later)).size) for later in (0.8, 0.91, 1.0)
    )
    assert flat < usual < steep
    assert usual == pytest.approx(calibration().amount.plenty_per_class)
    assert steep < 2 * flat * 1.2, "the curve moves the border and does not make it"


def test_a_curve_that_is_not_sure_hardly_moves_the_border(make_profile: MakeProfile, forecast: Facts) -> None:
    sure, unsure = (
        plenty_per_class(make_profile(curve=forecast(now=0.8, later=1.0, half=half)).size) for half in (0.0, 0.4)
    )
    plain = calibration().amount.plenty_per_class
    assert plain < unsure < plain * 1.05 < sure


def test_the_sentence_gives_the_border_in_images_for_this_curve(make_profile: MakeProfile, forecast: Facts) -> None:
    profile = place(make_profile(per_class=122, curve=forecast(now=0.8, later=0.96)))
    border = plenty_per_class(profile.size)
    assert (
        str(amount_reason(profile))
        == f"122 images per class, fewer than the {border:.0f} from which layers are trained"
    )


@pytest.mark.parametrize(
    ("counts", "verdict", "says"),
    [
        ((400, 2), "little", "the smallest class has 2 images, fewer than the 10"),
        ((4000, 9), "little", "the smallest class has 9 images, fewer than the 10"),
        ((4000, 10), "plenty", "the smallest class has 10 images, at least the 10"),
        ((670, 78, 57, 38, 22, 77), "plenty", "images in the class of a typical image, at least the 200"),
        ((300, 300), "plenty", "300 images per class, at least the 200"),
    ],
)
def test_a_rare_class_bounds_the_amount(
    make_profile: MakeProfile, counts: tuple[int, ...], verdict: str, says: str
) -> None:
    """Layers cannot learn a class from a handful of images, however many there are of the others."""
    size = size_of(np.array(counts))
    profile = make_profile()
    classes = tuple(f"class {number}" for number in range(len(counts)))
    placed = place(profile.model_copy(update={"size": size, "classes": classes}))
    assert placed.size.verdict == verdict
    assert says in str(amount_reason(placed))


@pytest.mark.parametrize(("images", "shown"), [(199.7, "199.7"), (199.99, "199.99"), (200, "200"), (43, "43")])
def test_images_below_the_border_do_not_read_as_the_border(
    make_profile: MakeProfile, images: float, shown: str
) -> None:
    profile = make_profile(per_class=100)
    size = profile.size.model_copy(update={"effective_classes": profile.size.images / images})
    assert f"{shown} images " in str(amount_reason(place(profile.model_copy(update={"size": size}))))
