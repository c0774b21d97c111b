from dataclasses import replace
from typing import Any

import pytest

from finetune_advisor.techniques.preprocessing import Preprocess

P = Preprocess(224, "crop", 0.875, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    "change",
    [
        {"size": 192},
        {"fit": "pad"},
        {"crop_pct": 1.0},
        {"interpolation": "bilinear"},
        {"mean": (0.5, 0.5, 0.4)},
        {"std": (0.5, 0.5, 0.50001)},
        {"value_range": (0.0, 4095.0)},
    ],
)
def test_the_key_changes_with_every_setting(change: dict[str, Any]) -> None:
    assert replace(P, **change).key() != P.key()


def test_the_key_is_the_same_for_the_same_pixels() -> None:
    assert replace(P, mean=(0.5, 0.50, 0.5)).key() == P.key()
    assert replace(P, crop_pct=1.0).key() == replace(P, crop_pct=1).key()
    assert replace(P, fit="pad").key() == replace(P, fit="pad", crop_pct=1.0).key()
