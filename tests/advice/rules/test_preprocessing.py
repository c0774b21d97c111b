"""The size of the input, and whether images are cropped or padded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from finetune_advisor.advice.advise import advise
from finetune_advisor.records.health import ImageSizes, ValueScale
from finetune_advisor.records.profile import Cell, Profile, ViewEffect

MakeProfile = Callable[..., Profile]
Effect = Callable[..., ViewEffect]


def sizes(*, shorter: float = 256, off_square: float = 0.0) -> ImageSizes:
    return ImageSizes(shorter_side=(shorter, shorter, shorter), aspect=(1, 1, 1), off_square=off_square)


@pytest.mark.parametrize(
    ("cell", "shorter", "refitted", "size"),
    [
        ("few_layers", 32, 0.0, 128),
        ("few_layers", 32, -0.009, 128),  # within the noise
        ("few_layers", 32, -0.02, 224),  # worse
        ("few_layers", 256, 0.0, 224),  # there is more to see in the images
        ("many_layers", 160, 0.02, 128),
        ("linear_probe", 32, 0.02, 224),  # there is no training to speed up
    ],
)
def test_small_images_train_at_a_small_size_if_nothing_is_lost(
    make_profile: MakeProfile, effect: Effect, cell: Cell, shorter: float, refitted: float, size: int
) -> None:
    profile = make_profile(views=(effect("small", refitted=refitted),), sizes=sizes(shorter=shorter))
    advice = advise(profile, strategy=cell)
    assert advice.recipe.preprocessing.size == size
    reason = advice.reasons.get("preprocessing.size", "")
    assert ("half of the images have a shorter side of at most" in reason) == (size == 128)
    assert ("more than one standard error is lost" in reason) == (refitted < -0.01)


def test_without_the_view_or_the_sizes_it_stays_as_measured(make_profile: MakeProfile, effect: Effect) -> None:
    for profile in (make_profile(sizes=sizes(shorter=32)), make_profile(views=(effect("small"),))):
        assert advise(profile, strategy="few_layers").recipe.preprocessing.size == 224


@pytest.mark.parametrize(
    ("off_square", "refitted", "fit", "said"),
    [
        (0.76, 0.027, "pad", "76 %"),
        (0.76, 0.009, "crop", "+0.9 ± 1.0 points"),
        (0.76, -0.03, "crop", "-3.0 ± 1.0 points"),
        (0.1, 0.1, "crop", "10 % of the images"),
    ],
)
@pytest.mark.parametrize("cell", ["linear_probe", "many_layers"])
def test_images_are_padded_where_many_are_long_and_the_probe_gains(
    make_profile: MakeProfile, effect: Effect, cell: Cell, off_square: float, refitted: float, fit: str, said: str
) -> None:
    profile = make_profile(views=(effect("pad", refitted=refitted),), sizes=sizes(off_square=off_square))
    advice = advise(profile, strategy=cell)
    assert advice.recipe.preprocessing.fit == fit
    assert said in advice.reasons["preprocessing.fit"]


def test_no_share_of_the_images_is_called_none(make_profile: MakeProfile) -> None:
    reason = advise(make_profile(sizes=sizes(off_square=0.0))).reasons["preprocessing.fit"]
    assert "none of the images are far from square" in reason


def test_what_was_not_tried_is_said(make_profile: MakeProfile) -> None:
    assert "not measured" in advise(make_profile()).reasons["preprocessing.fit"]
    assert "not measured" in advise(make_profile(sizes=sizes(off_square=0.9))).reasons["preprocessing.fit"]


def test_the_measured_scale_of_values_is_written_with_its_figures(make_profile: MakeProfile) -> None:
    profile = make_profile()
    assert advise(profile).recipe.preprocessing.value_range is None
    assert "preprocessing.value_range" not in advise(profile).reasons
    values = ValueScale(
        range=(0, 4095),
        images=90,
        of=100,
        measured=80,
        types={"uint16": 80},
        lowest=0,
        highest=65535,
        clipped=0.0004,
    )
    wide = profile.model_copy(update={"health": profile.health.model_copy(update={"values": values})})
    advice = advise(wide)
    assert advice.recipe.preprocessing.value_range == (0, 4095)
    reason = advice.reasons["preprocessing.value_range"]
    for figure in ("90 of 100 training images", "from 0 to 65535", "0.04% are clipped"):
        assert figure in reason


@pytest.mark.parametrize(("kept", "fit"), [(0.03, "pad"), (0.49, "pad"), (0.5, "crop"), (0.75, "crop"), (None, "crop")])
def test_images_too_few_to_measure_are_not_cropped_to_less_than_half(
    make_profile: MakeProfile, kept: float | None, fit: str
) -> None:
    profile = make_profile(sizes=sizes(off_square=1.0).model_copy(update={"kept_by_crop": kept}))
    advice = advise(profile, strategy="few_layers")
    assert advice.recipe.preprocessing.fit == fit
    if fit == "pad":
        assert f"would show {100 * (kept or 0):.0f} % of the median image" in advice.reasons["preprocessing.fit"]
    assert ("random_crop" in [each.kind for each in advice.recipe.augmentation or ()]) == (fit == "crop")


def test_where_padding_was_measured_the_measurement_decides(make_profile: MakeProfile, effect: Effect) -> None:
    panoramas = sizes(off_square=1.0).model_copy(update={"kept_by_crop": 0.03})
    profile = make_profile(views=(effect("pad", refitted=-0.03),), sizes=panoramas)
    assert advise(profile, strategy="few_layers").recipe.preprocessing.fit == "crop"
