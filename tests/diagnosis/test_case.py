"""What the labels leave of the loss, which is no fault of the network."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_advisor.diagnosis.curves import Case
from finetune_advisor.recipes.load import load_recipe


def case(*edits: str, classes: int = 4) -> Case:
    recipe = load_recipe("all_layers", list(edits))
    return Case(recipe, (), tuple(map(str, range(classes))), val_images=10)


def test_mixed_labels_leave_as_much_loss_as_they_have_entropy() -> None:
    """Of the uniform share of cutmix: one half nat on average, for the three in four pairs that are of two classes."""
    rng = np.random.default_rng(1)
    share_N = rng.uniform(size=200_000)
    entropy = -(share_N * np.log(share_N) + (1 - share_N) * np.log(1 - share_N)).mean()
    assert entropy == pytest.approx(0.5, abs=0.01)
    found = case("mixing={kind: cutmix}", "loss.label_smoothing=0").lowest_loss
    assert found == pytest.approx(0.75 * entropy, abs=0.02)


def test_certain_labels_leave_nothing_and_smoothed_ones_their_entropy() -> None:
    assert case("loss.label_smoothing=0").lowest_loss == 0
    own, other = 0.925, 0.025
    expected = -own * np.log(own) - 3 * other * np.log(other)
    assert case("loss.label_smoothing=0.1").lowest_loss == pytest.approx(expected)


def test_guessing_costs_less_where_the_loss_looks_away() -> None:
    assert case("loss={kind: focal, gamma: 2.0}", classes=2).chance_loss == pytest.approx(0.25 * np.log(2))
