"""How fast and how long a network is trained, and how hard it is kept from learning by heart."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.rules.training import STEPS_AT_LEAST, STEPS_AT_MOST
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.profile import Profile

MakeProfile = Callable[..., Profile]


def trained(profile: Profile) -> Recipe:
    return advise(profile, strategy="many_layers").recipe


@pytest.mark.parametrize("per_class", [2, 10, 60, 199, 200, 400, 1000, 10_000, 200_000])
def test_training_is_neither_too_short_nor_too_long(make_profile: MakeProfile, per_class: int) -> None:
    profile = make_profile(per_class=per_class)
    recipe = trained(profile)
    assert recipe.optimizer is not None and recipe.budget is not None and recipe.budget.epochs is not None
    steps_per_epoch = math.ceil(profile.splits["train"].images / recipe.optimizer.batch)
    steps = recipe.budget.epochs * steps_per_epoch
    assert steps >= STEPS_AT_LEAST
    assert steps <= STEPS_AT_MOST or recipe.budget.epochs == 2, "every image is seen at least twice"


def rates(profile: Profile) -> tuple[float, float]:
    optimizer = trained(profile).optimizer
    assert optimizer is not None
    return optimizer.lr, optimizer.lr * optimizer.body_lr_ratio


def test_pretrained_layers_move_less_the_more_the_images_look_like_imagenet(make_profile: MakeProfile) -> None:
    bodies = [rates(make_profile(per_class=900, score=score))[1] for score in (0.0, 0.4, 0.93, 0.97, 1.0)]
    assert bodies == sorted(bodies, reverse=True)
    assert bodies[0] == pytest.approx(2 * bodies[2], rel=0.05)
    assert bodies[4] == pytest.approx(bodies[2] / 2, rel=0.05)


def test_at_the_border_with_many_images_the_rates_are_the_shipped_ones(make_profile: MakeProfile) -> None:
    shipped = load_recipe("many_layers").optimizer
    assert shipped is not None
    assert rates(make_profile(per_class=900, score=0.93)) == pytest.approx(
        (shipped.lr, shipped.lr * shipped.body_lr_ratio)
    )


def test_a_fitted_classifier_moves_slowly_and_the_layers_as_ever(make_profile: MakeProfile) -> None:
    fitted, new = (rates(make_profile(per_class=per_class, score=0.93)) for per_class in (49, 50))
    assert fitted[0] == pytest.approx(new[0] / 3, rel=0.05)
    assert fitted[1] == pytest.approx(new[1], rel=0.05)


def test_half_the_batch_lowers_rates_by_its_root(make_profile: MakeProfile) -> None:
    small, large = (make_profile(per_class=per_class, score=0.93) for per_class in (190, 210))
    batches = [optimizer.batch for profile in (small, large) if (optimizer := trained(profile).optimizer)]
    assert batches == [16, 32]
    assert rates(small)[0] == pytest.approx(rates(large)[0] / math.sqrt(2), rel=0.05)
    assert rates(small)[1] == pytest.approx(rates(large)[1] / math.sqrt(2), rel=0.05)


def strengths(profile: Profile) -> dict[str, float]:
    values = [technique.model_dump() for technique in trained(profile).regularization or ()]
    return {value["kind"]: value["strength" if value["kind"] == "l2" else "rate"] for value in values}


def test_less_data_is_regularized_harder_and_the_border_as_shipped(make_profile: MakeProfile) -> None:
    few, border, many = (strengths(make_profile(per_class=per_class)) for per_class in (5, 200, 20_000))
    for kind in ("l2", "dropout"):
        assert few[kind] > border[kind] > many[kind] > 0
    assert border == {"l2": 1e-4, "dropout": 0.2}


@pytest.mark.parametrize("suspects", [0, 40])
def test_label_smoothing_is_the_shipped_one_whatever_labels_are_suspected(
    make_profile: MakeProfile, suspects: int
) -> None:
    advice = advise(make_profile(per_class=50, suspects=suspects), strategy="few_layers")
    assert advice.recipe.loss == load_recipe("few_layers").loss
    assert "loss.label_smoothing" not in advice.reasons
