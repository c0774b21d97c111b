"""Preprocessing takes its numbers from the backbone."""

from __future__ import annotations

import pytest

from finetune_advisor.techniques.preprocessing import Backbone, Preprocess

CONFIG = {
    "input_size": (3, 160, 160),
    "mean": (0.1, 0.2, 0.3),
    "std": [0.4, 0.5, 0.6],
    "interpolation": "bilinear",
    "crop_pct": 0.9,
}


def test_size_and_fit_are_the_recipe_s_and_the_rest_the_backbone_s() -> None:
    assert Backbone(size=128, fit="pad").resolve(CONFIG) == Preprocess(
        size=128, fit="pad", crop_pct=0.9, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )


def test_a_number_the_backbone_does_not_give_is_not_made_up() -> None:
    with pytest.raises(KeyError, match="mean"):
        Backbone().resolve({key: value for key, value in CONFIG.items() if key != "mean"})
