"""The rebuilt baselines: complete recipes that say what of the original they cannot express."""

from __future__ import annotations

import pytest

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import baseline_recipes, is_shipped, load_recipe, shipped_path, shipped_recipes
from finetune_advisor.techniques.optimizer import AdamW, Sgd

STAGES_OF_LITE0 = 8


@pytest.mark.parametrize("name", baseline_recipes())
def test_a_baseline_is_called_by_its_name_and_says_what_is_not_exact(name: str) -> None:
    assert load_recipe(name).name == name
    opening = shipped_path(name).read_text(encoding="utf-8").partition("\nextends:")[0]
    assert opening.startswith(f"# finetune-advisor run {name} --set data.path=")
    assert "\n# Baseline, " in opening
    assert "\n# Not exact: " in opening


def test_no_baseline_hides_a_recipe_to_start_from() -> None:
    assert not set(baseline_recipes()) & set(shipped_recipes())
    assert all(is_shipped(name) for name in (*baseline_recipes(), *shipped_recipes()))


def test_a_misspelt_baseline_is_recognized() -> None:
    with pytest.raises(RecipeError, match="did you mean 'bit_hyperrule'"):
        load_recipe("bit_hyperule")


def test_rates_of_fastai_span_a_factor_of_hundred() -> None:
    optimizer = load_recipe("fastai_fine_tune").optimizer
    assert isinstance(optimizer, AdamW)
    assert optimizer.lr == 1e-3
    assert optimizer.body_lr(STAGES_OF_LITE0 - 1) == pytest.approx(1e-5, rel=0.01)


def test_the_rate_of_bit_falls_after_200_300_and_400_of_500_steps() -> None:
    recipe = load_recipe("bit_hyperrule")
    assert isinstance(recipe.optimizer, Sgd) and recipe.schedule is not None and recipe.budget is not None
    assert (recipe.budget.steps, recipe.optimizer.batch) == (500, 512)
    rates = {step: recipe.optimizer.lr * recipe.schedule.multiplier(step / 500) for step in (0, 50, 150, 250, 350, 450)}
    assert rates == pytest.approx({0: 0, 50: 1.5e-3, 150: 3e-3, 250: 3e-4, 350: 3e-5, 450: 3e-6})


def test_keras_trains_the_network_only_in_the_last_third_of_its_epochs() -> None:
    recipe = load_recipe("keras_two_stages")
    assert recipe.optimizer is not None and recipe.budget is not None
    assert recipe.strategy.model_dump()["unfreeze_every"] == 20 and recipe.budget.epochs == 30
    assert recipe.optimizer.body_lr(0) == pytest.approx(1e-5)
