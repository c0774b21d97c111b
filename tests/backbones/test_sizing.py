"""The slides' rules of thumb on sizes, against networks made to keep or to break them."""

from __future__ import annotations

import dataclasses

import pytest
from torch import nn

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.sizing import sizing_remarks


@pytest.fixture(scope="module")
def any_backbone() -> Backbone:
    return build("mobilenetv3_small_050", "random", size=32)


def remarks(any_backbone: Backbone, side: int, *layers: nn.Module) -> tuple[str, ...]:
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
    return sizing_remarks(
        dataclasses.replace(any_backbone, net=net, config={**any_backbone.config, "input_size": (3, side, side)})
    )


@pytest.mark.parametrize("side", [32, 36])
def test_a_network_by_the_book_has_none(any_backbone: Backbone, side: int) -> None:
    pool = nn.MaxPool2d(2)
    assert remarks(any_backbone, side, nn.Conv2d(3, 4, 3, padding=1), pool, nn.Conv2d(4, 4, 3, padding=1), pool) == ()


def test_each_broken_rule_is_one_sentence_that_says_where(any_backbone: Backbone) -> None:
    layers = nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2)
    sizes, border, pooling = remarks(any_backbone, 45, *layers)
    assert "images of 45 pixels do not divide evenly: at 1 a side of 43 meets a stride of 2" in sizes
    assert "changes the size (0): a border of zeros" in border
    assert "1 times it pools by 3 x 3: 2 x 2 is the rule" in pooling


def test_pooling_over_everything_is_no_pooling_by_a_window(any_backbone: Backbone) -> None:
    assert remarks(any_backbone, 8, nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(8)) == ()
