"""Weight decay equals that of torch's optimizers, to the last bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from finetune_advisor.techniques.regularization import L2, Dropout

LR, STRENGTH, STEPS = 0.05, 0.1, 5


def train(optimizer: Callable[[list[torch.Tensor]], torch.optim.Optimizer], l2: L2 | None) -> torch.Tensor:
    """A weight after some steps toward a random linear map."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator).requires_grad_()
    x, y = torch.randn(32, 6, generator=generator), torch.randn(32, 4, generator=generator)
    steps = optimizer([weight])
    for _ in range(STEPS):
        steps.zero_grad()
        (x @ weight.T - y).square().mean().backward()
        if l2:
            l2.before_step([weight], LR)
        steps.step()
    return weight.detach()


def test_coupled_decay_is_that_of_sgd() -> None:
    ours = train(lambda weights: torch.optim.SGD(weights, lr=LR), L2(strength=STRENGTH, decoupled=False))
    theirs = train(lambda weights: torch.optim.SGD(weights, lr=LR, weight_decay=STRENGTH), None)
    assert torch.equal(ours, theirs)


def test_decoupled_decay_is_that_of_adamw() -> None:
    ours = train(lambda weights: torch.optim.AdamW(weights, lr=LR, weight_decay=0.0), L2(strength=STRENGTH))
    theirs = train(lambda weights: torch.optim.AdamW(weights, lr=LR, weight_decay=STRENGTH), None)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("decoupled", [True, False])
def test_decay_leaves_a_weight_without_a_gradient_alone(decoupled: bool) -> None:
    frozen = torch.ones(3)
    L2(strength=STRENGTH, decoupled=decoupled).before_step([frozen], LR)
    assert torch.equal(frozen, torch.ones(3))


def test_dropout_reaches_a_net_of_timm() -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet10t", num_classes=2, **Dropout(rate=0.3).model_arguments())
    assert net.drop_rate == 0.3
