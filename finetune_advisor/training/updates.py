"""How large a step is beside the weights that it moves: about a thousandth where the rate is right.

Source: Karpathy, "CS231n: Convolutional Neural Networks for Visual Recognition", 2015 (ratio of weights to updates).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Weights = Mapping[str, tuple[list[nn.Parameter], list[Tensor]]]
"""By group: the weights in training, and copies of what they were."""


def remember_weights(optimizer: torch.optim.Optimizer) -> Weights:
    """Copies of the weights that the next step moves; norms and biases, which may well be zero, are left out."""
    moving = {
        group["name"]: [p for p in group["params"] if p.grad is not None]
        for group in optimizer.param_groups
        if group["decays"]
    }
    return {name: (weights, [w.detach().clone() for w in weights]) for name, weights in moving.items() if weights}


def update_ratios(before: Weights) -> dict[str, float]:
    """By group: the norm of what changed over the norm of what was; groups that were zero are left out.

    Waits for the device: ask once an epoch.
    """
    ratios = {}
    for name, (weights, copies) in before.items():
        was = torch.nn.utils.get_total_norm(copies)
        moved = torch.nn.utils.get_total_norm([w.detach() - c for w, c in zip(weights, copies, strict=True)])
        if (size := float(was)) > 0:
            ratios[name] = float(moved) / size
    return ratios
