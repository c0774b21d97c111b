"""The size of a step beside its weights, and how much the loss jumps from batch to batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finetune_advisor.training.loop import remember_weights, update_ratios
from finetune_advisor.training.state import Tally


def test_the_ratio_is_what_changed_over_what_was() -> None:
    weights = [torch.nn.Parameter(torch.tensor([3.0, 4.0])), torch.nn.Parameter(torch.tensor([12.0]))]
    bias, zero, idle = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = [
        {"params": weights, "name": "body", "decays": True},
        {"params": [bias], "name": "body_norm_bias", "decays": False},
        {"params": [zero], "name": "head", "decays": True},
        {"params": [idle], "name": "frozen", "decays": True},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    for parameter in (*weights, bias, zero):
        parameter.grad = torch.ones_like(parameter)
    before = remember_weights(optimizer)
    optimizer.step()
    # Three weights of norm 13 move by 0.1 each; what was zero has no size to compare with, what rests has no step.
    assert update_ratios(before) == pytest.approx({"body": 0.1 * 3**0.5 / 13})


def test_noise_is_told_from_the_trend() -> None:
    rng = np.random.default_rng(0)
    losses = np.linspace(5.0, 1.0, 500) + rng.normal(0, 0.2, 500)
    tally = Tally()
    for loss in losses:
        tally.add(8, 8 * loss, 4)
    assert tally.noise == pytest.approx(0.2, rel=0.1) and np.std(losses) > 1
    single = Tally()
    single.add(8, 8.0, 4)
    assert single.noise is None
