"""The time a run should take follows from what was timed, by an account that a person can repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from finetune_advisor.advice.advise import AROUND, FITS, expected_seconds
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.facts import Speed
from finetune_advisor.records.profile import Profile, Sampled, Seconds, SplitCount

SPEED = Speed(
    device="cpu",
    forward={"stem": 0.004, "blocks.0": 0.003, "blocks.1": 0.002, "head": 0.001},
    backward=2.0,
    decoding=0.01,
)


@pytest.fixture
def profile(make_profile: Callable[..., Profile]) -> Profile:
    splits = {
        split: SplitCount(images=count, per_class={}) for split, count in (("train", 80), ("val", 20), ("test", 50))
    }
    seconds = Seconds(listing=0, images=12, probes=8, total=20)
    return make_profile().model_copy(update={"speed": SPEED, "splits": splits, "seconds": seconds})


def recipe(base: str, *overrides: str) -> Recipe:
    return load_recipe(base, overrides)


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [(("few_layers", "strategy.stages=1"), 0.003), (("many_layers", "strategy.frozen_stages=1"), 0.006)],
)
def test_a_step_goes_forward_through_all_and_back_through_what_is_trained(
    profile: Profile, strategy: tuple[str, ...], trained: float
) -> None:
    plain = ("strategy.cached_views=null", "runtime.cache_mib=null", "budget.epochs=5", "runtime.workers=2")
    found = expected_seconds(profile, recipe(*strategy, *plain))
    training = 5 * 80 * (0.010 + 2.0 * trained + 0.01 / 2)
    scoring = (6 * 20 + 50) * (0.010 + 0.01 / 2)
    assert found == pytest.approx(AROUND + training + scoring)


@pytest.mark.parametrize(("epochs", "views"), [(8, 4), (3, 3)])
def test_with_kept_views_what_is_frozen_runs_once_for_each(profile: Profile, epochs: int, views: int) -> None:
    """And decodes once; two stages of 0.003 s an image in all then train in every epoch."""
    kept = recipe(
        "few_layers", "strategy.stages=1", "strategy.cached_views=4", f"budget.epochs={epochs}", "runtime.workers=2"
    )
    once = (views * 80 + 20 + 50) * (0.010 + 0.01 / 2)
    training = epochs * (80 * (1 + 2.0) + 20) * 0.003
    assert expected_seconds(profile, kept) == pytest.approx(AROUND + once + training)


def test_a_refit_trains_again_on_all_images(profile: Profile) -> None:
    """Without validation; the test images are looked at once, by the network that is kept."""
    plain = ("strategy.cached_views=null", "budget.epochs=5", "runtime.workers=2", "strategy.stages=1")
    once = expected_seconds(profile, recipe("few_layers", *plain))
    found = expected_seconds(profile, recipe("few_layers", *plain, "evaluation.refit=true"))
    assert once is not None and found is not None
    assert found - once == pytest.approx(5 * 100 * (0.010 + 2.0 * 0.003 + 0.01 / 2))


@pytest.mark.parametrize("budget", ["steps=15", "images=400"])
def test_other_budgets_are_counted_in_epochs(profile: Profile, budget: str) -> None:
    settings = ("few_layers", "strategy.stages=1", "optimizer.batch=32")
    other = recipe(*settings, "budget.epochs=null", f"budget.{budget}")
    assert expected_seconds(profile, other) == pytest.approx(
        expected_seconds(profile, recipe(*settings, "budget.epochs=5"))
    )


def test_beside_a_gpu_decoding_counts_only_where_it_is_slower(profile: Profile) -> None:
    on_gpu = profile.model_copy(update={"speed": SPEED.model_copy(update={"device": "cuda"})})
    plain = ("strategy.cached_views=null", "runtime.cache_mib=null")
    slow = recipe("few_layers", "strategy.stages=1", *plain, "budget.epochs=5", "runtime.workers=1")
    assert expected_seconds(on_gpu, slow) == pytest.approx(AROUND + 5 * 80 * 0.016 + (6 * 20 + 50) * 0.010)


def test_a_probe_is_fitted_again_and_looks_at_what_the_sample_left_out(profile: Profile) -> None:
    fits = AROUND + FITS * 8 / len(profile.probes)
    assert expected_seconds(profile, recipe("linear_probe")) == pytest.approx(fits)
    sampled = profile.model_copy(update={"sampled": Sampled(images=100, of=300)})
    assert expected_seconds(sampled, recipe("linear_probe")) == pytest.approx(fits + 200 * 12 / 100)


@pytest.mark.parametrize("change", [{"speed": None}, {"device": "cuda"}])
def test_where_nothing_was_timed_nothing_is_promised(profile: Profile, change: dict[str, Any]) -> None:
    device = change.pop("device", "cpu")
    settings = recipe("few_layers", "strategy.stages=1")
    assert expected_seconds(profile.model_copy(update=change), settings, device=device) is None
