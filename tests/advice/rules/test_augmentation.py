"""Which random changes a recipe makes: judged from what they do to the data."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from finetune_advisor.advice.advise import Advice, advise
from finetune_advisor.records.health import ImageSizes
from finetune_advisor.records.profile import Profile, ViewEffect
from finetune_advisor.techniques.augmentation import ColorJitter, RandomCrop

MakeProfile = Callable[..., Profile]
Effect = Callable[..., ViewEffect]

WIDE = ImageSizes(shorter_side=(200, 256, 300), aspect=(0.7, 1.5, 1.9), off_square=0.8)


def trained(profile: Profile) -> Advice:
    return advise(profile, strategy="many_layers")


def kinds(profile: Profile) -> list[str]:
    return [technique.kind for technique in trained(profile).recipe.augmentation or ()]


def test_nothing_measured_gives_the_shipped_list_and_says_so(make_profile: MakeProfile) -> None:
    advice = trained(make_profile())
    assert [technique.kind for technique in advice.recipe.augmentation or ()] == ["horizontal_flip", "random_crop"]
    assert "were not measured" in advice.reasons["augmentation.horizontal_flip"]
    assert "not measured" in advice.reasons["augmentation"]


@pytest.mark.parametrize(
    ("transferred", "refitted", "std", "flipped"),
    [
        (0.0, 0.0, 0.01, True),  # photographs
        (-0.019, 0.0, 0.003, True),  # as little as folds make
        (-0.022, 0.0, 0.012, True),  # not more than chance: CIFAR-10
        (-0.054, -0.005, 0.015, False),  # digits
        (-0.1, 0.0, 0.01, False),  # nothing is gained
        (-0.1, 0.05, 0.01, True),  # classifiers that see both do better
    ],
)
def test_mirroring_is_allowed_where_the_data_bears_it(
    make_profile: MakeProfile, effect: Effect, transferred: float, refitted: float, std: float, flipped: bool
) -> None:
    profile = make_profile(views=(effect("horizontal_flip", transferred=transferred, refitted=refitted, std=std),))
    assert ("horizontal_flip" in kinds(profile)) == flipped
    reasons = trained(profile).reasons
    assert (
        f"{100 * transferred:+.1f} ± {100 * std:.1f} points"
        in reasons["augmentation.horizontal_flip" if flipped else "augmentation"]
    )


@pytest.mark.parametrize(
    ("transferred", "refitted", "std", "flipped"),
    [
        (-0.005, 0.003, 0.003, True),  # tiles
        (-0.007, 0.0, 0.016, True),  # textures
        (-0.017, 0.0, 0.007, False),  # food
        (-0.235, -0.027, 0.02, False),  # photographs of things
        (0.0, -0.05, 0.01, False),  # learning both costs accuracy
    ],
)
def test_upside_down_only_where_images_have_no_up(
    make_profile: MakeProfile, effect: Effect, transferred: float, refitted: float, std: float, flipped: bool
) -> None:
    profile = make_profile(views=(effect("vertical_flip", transferred=transferred, refitted=refitted, std=std),))
    assert ("vertical_flip" in kinds(profile)) == flipped


@pytest.mark.parametrize("majority", [0.9, 0.885, None])
def test_a_classifier_that_does_not_beat_the_largest_class_shows_nothing(
    make_profile: MakeProfile, effect: Effect, majority: float | None
) -> None:
    """It predicts the same class for every view: what the shipped recipe does stays, nothing else is allowed by it."""
    names = ("horizontal_flip", "vertical_flip", "rotation_90", "gray")
    profile = make_profile(views=tuple(effect(name, majority=majority) for name in names))
    reasons = trained(profile).reasons
    assert kinds(profile) == ["horizontal_flip", "random_crop"]
    said = "not known whether" if majority is None else "nothing could be measured"
    assert said in reasons["augmentation"] and said in reasons["augmentation.horizontal_flip"]


@pytest.mark.parametrize(
    ("horizontal", "vertical", "turned"),
    [
        (0.0, 0.0, True),  # nothing has a direction
        (0.0, -0.3, False),  # the images have an up
        (-0.3, 0.0, False),  # half a turn mirrors left and right as well
        (-0.3, -0.3, True),  # spirals: mirror images differ, turned ones do not
    ],
)
def test_quarter_turns_where_the_flips_do_not_speak_against_half_a_turn(
    make_profile: MakeProfile, effect: Effect, horizontal: float, vertical: float, turned: bool
) -> None:
    flips = (effect("horizontal_flip", transferred=horizontal), effect("vertical_flip", transferred=vertical))
    profile = make_profile(views=(*flips, effect("rotation_90")))
    assert ("rotation" in kinds(profile)) == turned


@pytest.mark.parametrize(("transferred", "jitter"), [(0.0, True), (-0.009, True), (-0.0184, False), (-0.09, False)])
def test_color_changes_unless_it_carries_the_class(
    make_profile: MakeProfile, effect: Effect, transferred: float, jitter: bool
) -> None:
    profile = make_profile(views=(effect("gray", transferred=transferred),), modes={"RGB": 100})
    assert ("color_jitter" in kinds(profile)) == jitter


def test_gray_images_have_no_saturation_to_change(make_profile: MakeProfile) -> None:
    advice = trained(make_profile(modes={"L": 90, "I;16": 10}))
    (jitter,) = [each for each in advice.recipe.augmentation or () if isinstance(each, ColorJitter)]
    assert (jitter.saturation, jitter.brightness) == (0.0, ColorJitter().brightness)


def crop(profile: Profile) -> RandomCrop:
    (found,) = [each for each in trained(profile).recipe.augmentation or () if isinstance(each, RandomCrop)]
    return found


def test_crops_are_stronger_with_less_data_and_as_shipped_at_the_border(make_profile: MakeProfile) -> None:
    few, border, many = (crop(make_profile(per_class=n)).scale[0] for n in (5, 200, 20_000))
    assert few < border < many
    assert border == RandomCrop().scale[0]


def test_what_is_padded_is_not_cropped(make_profile: MakeProfile, effect: Effect) -> None:
    profile = make_profile(views=(effect("pad", refitted=0.03),), sizes=WIDE)
    assert trained(profile).recipe.preprocessing.fit == "pad"
    assert "random_crop" not in kinds(profile)


def test_where_every_change_harms_there_is_none(make_profile: MakeProfile, effect: Effect) -> None:
    harmed = (effect("horizontal_flip", transferred=-0.3), effect("gray", transferred=-0.3))
    profile = make_profile(views=(*harmed, effect("pad", refitted=0.03)), sizes=WIDE)
    assert trained(profile).recipe.augmentation is None
