"""Each cost is that of its formula; weight decay equals that of torch's optimizers, to the last bit.

Shapes: B images, D inputs or features, K units.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from finetune_advisor.techniques.regularization import (
    L1,
    L2,
    Dropout,
    KlSparsity,
    L2Sp,
    MaxNorm,
    Regularization,
    StochasticDepth,
    Weights,
)

LR, STRENGTH, STEPS = 0.05, 0.1, 5


def train(optimizer: Callable[[list[Tensor]], torch.optim.Optimizer], technique: Regularization | None) -> Tensor:
    """A weight after some steps toward a random linear map."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator).requires_grad_()
    x, y = torch.randn(32, 6, generator=generator), torch.randn(32, 4, generator=generator)
    steps = optimizer([weight])
    for step in range(STEPS):
        steps.zero_grad()
        (x @ weight.T - y).square().mean().backward()
        if technique:
            technique.before_step(Weights(["fc.weight"], [weight]), lr=LR, progress=step / STEPS)
        steps.step()
    return weight.detach()


def with_gradient(values: Tensor) -> Tensor:
    """A weight whose loss has the gradient 1 everywhere."""
    weight = values.clone().requires_grad_()
    weight.sum().backward()
    return weight


def pushed(technique: Regularization, values: Tensor, **weights: object) -> tuple[Tensor, Tensor]:
    """A weight and its gradient after `before_step`."""
    weight = with_gradient(values)
    technique.before_step(Weights(["fc.weight"], [weight], **weights), lr=LR, progress=0.5)  # type: ignore[arg-type]
    assert weight.grad is not None
    return weight.detach(), weight.grad


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_coupled_decay_is_that_of_sgd() -> None:
    ours = train(lambda weights: torch.optim.SGD(weights, lr=LR), L2(strength=STRENGTH, decoupled=False))
    theirs = train(lambda weights: torch.optim.SGD(weights, lr=LR, weight_decay=STRENGTH), None)
    assert torch.equal(ours, theirs)


def test_decoupled_decay_is_that_of_adamw() -> None:
    ours = train(lambda weights: torch.optim.AdamW(weights, lr=LR, weight_decay=0.0), L2(strength=STRENGTH))
    theirs = train(lambda weights: torch.optim.AdamW(weights, lr=LR, weight_decay=STRENGTH), None)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("cost", [L2, L1, L2Sp])
def test_decay_leaves_a_weight_without_a_gradient_alone(cost: type[Regularization], decoupled: bool) -> None:
    frozen = torch.ones(3, 1)
    technique = cost.model_validate({"strength": STRENGTH, "decoupled": decoupled})
    technique.before_step(Weights(["fc.weight"], [frozen], starts=[torch.zeros(3, 1)]), lr=LR, progress=0.5)
    assert torch.equal(frozen, torch.ones(3, 1))


def test_coupled_l1_adds_the_gradient_of_the_slides_cost() -> None:
    values = numbers(4, 6)
    weight, gradient = pushed(L1(strength=STRENGTH, decoupled=False), values)
    cost = values.clone().requires_grad_()
    (cost.sum() + STRENGTH * cost.abs().sum()).backward()
    assert cost.grad is not None
    torch.testing.assert_close(gradient, cost.grad)
    assert torch.equal(weight, values)


def test_decoupled_l1_is_the_proximal_step_and_leaves_exact_zeros() -> None:
    values = torch.tensor([[0.5, -0.5, 0.004, -0.004, 0.0]])
    weight, gradient = pushed(L1(strength=STRENGTH), values)
    x, shrink = values.numpy(), LR * STRENGTH
    np.testing.assert_allclose(weight.numpy(), np.sign(x) * np.maximum(np.abs(x) - shrink, 0), rtol=1e-6)
    assert weight[0, 2:].tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(gradient, torch.ones_like(values))


def test_l1_and_l2_together_are_the_elastic_net() -> None:
    values = numbers(4, 6)
    weight = with_gradient(values)
    for technique in (L1(strength=0.01, decoupled=False), L2(strength=0.2, decoupled=False)):
        technique.before_step(Weights(["fc.weight"], [weight]), lr=LR, progress=0.0)
    cost = values.clone().requires_grad_()
    (cost.sum() + 0.01 * cost.abs().sum() + 0.2 / 2 * cost.square().sum()).backward()
    torch.testing.assert_close(weight.grad, cost.grad)


@pytest.mark.parametrize(("progress", "acts"), [(0.0, False), (0.79, False), (0.8, True), (0.99, True)])
def test_l1_is_switched_on_late(progress: float, acts: bool) -> None:
    weight = with_gradient(torch.ones(2, 2))
    L1(strength=1.0, start=0.8).before_step(Weights(["fc.weight"], [weight]), lr=LR, progress=progress)
    assert torch.equal(weight.detach(), torch.full((2, 2), 1 - LR if acts else 1.0))


def test_l2_sp_adds_the_gradient_of_half_the_squared_way_from_the_start() -> None:
    values, start = numbers(4, 6), numbers(4, 6, seed=1)
    _, gradient = pushed(L2Sp(strength=STRENGTH, decoupled=False), values, starts=[start])
    cost = values.clone().requires_grad_()
    (cost.sum() + STRENGTH / 2 * (cost - start).square().sum()).backward()
    torch.testing.assert_close(gradient, cost.grad)


def test_decoupled_l2_sp_goes_a_share_of_the_way_back() -> None:
    values, start = numbers(4, 6), numbers(4, 6, seed=1)
    weight, _ = pushed(L2Sp(strength=STRENGTH), values, starts=[start])
    torch.testing.assert_close(weight, start + (1 - LR * STRENGTH) * (values - start))
    there, _ = pushed(L2Sp(strength=STRENGTH), start, starts=[start])
    assert torch.equal(there, start)


def test_l2_sp_decays_new_layers_to_zero() -> None:
    values = numbers(4, 6)
    weight, _ = pushed(L2Sp(strength=0.0, new_strength=STRENGTH), values, new=True)
    torch.testing.assert_close(weight, values * (1 - LR * STRENGTH))


@pytest.mark.parametrize("shape", [(5, 8), (5, 2, 2, 2)], ids=["neurons", "filters"])
def test_max_norm_brings_each_unit_back_into_its_ball_and_leaves_the_others(shape: tuple[int, ...]) -> None:
    values = numbers(*shape) * torch.tensor([0.1, 0.5, 1.0, 2.0, 5.0]).view(-1, *[1] * (len(shape) - 1))
    weight = values.clone()
    MaxNorm(limit=2.0, layers="all").after_step(Weights(["fc.weight"], [weight]))
    columns_DK = values.flatten(1).numpy().T
    expected_DK = columns_DK * np.minimum(1, 2.0 / np.linalg.norm(columns_DK, axis=0))
    np.testing.assert_allclose(weight.flatten(1).numpy().T, expected_DK, rtol=1e-6)
    inside_K = values.flatten(1).norm(dim=1) <= 2.0
    assert 0 < inside_K.sum() < 5
    assert torch.equal(weight[inside_K], values[inside_K])


@pytest.mark.parametrize(
    ("layers", "shrunk"),
    [("all", [True, True, True]), ("new", [False, False, True]), (("blocks.1",), [True, False, False])],
)
def test_max_norm_acts_on_the_layers_it_is_told_of(layers: object, shrunk: list[bool]) -> None:
    technique = MaxNorm.model_validate({"kind": "max_norm", "limit": 1.0, "layers": layers})
    weights = [torch.full((2, 4), 3.0) for _ in range(3)]
    technique.after_step(Weights(["blocks.1.conv.weight", "blocks.10.conv.weight"], weights[:2]))
    technique.after_step(Weights(["fc.weight"], weights[2:], new=True))
    assert [bool(weight.flatten(1).norm(dim=1).max() < 1.001) for weight in weights] == shrunk


@pytest.mark.parametrize("units", ["rate", "probability"])
def test_kl_sparsity_is_the_divergence_of_coins(units: str) -> None:
    technique = KlSparsity.model_validate({"kind": "kl_sparsity", "strength": 0.3, "target": 0.1, "units": units})
    x_BD = numbers(64, 5).sigmoid() if units == "probability" else numbers(64, 5)
    fires_BD = x_BD.numpy() if units == "probability" else 1 - np.exp(-np.maximum(x_BD.numpy(), 0))
    expected = 0.3 * sum(entropy([0.1, 0.9], [mean, 1 - mean]) for mean in fires_BD.mean(axis=0))
    assert technique.penalty(technique.reading(x_BD).mean(dim=0)).item() == pytest.approx(expected, rel=1e-5)


def test_kl_sparsity_costs_nothing_at_its_target_and_stays_finite_at_the_ends() -> None:
    technique = KlSparsity(strength=1.0, target=0.2)
    assert technique.penalty(torch.full((3,), 0.2)).item() == pytest.approx(0, abs=1e-6)
    mean_D = torch.tensor([0.0, 1.0], requires_grad=True)
    cost = technique.penalty(mean_D)
    cost.backward()
    assert mean_D.grad is not None and torch.isfinite(torch.stack([cost.detach(), mean_D.grad.abs().max()])).all()


def test_dropout_and_stochastic_depth_reach_a_net_of_timm() -> None:
    timm = pytest.importorskip("timm")
    arguments = Dropout(rate=0.3).model_arguments() | StochasticDepth(rate=0.2).model_arguments()
    net = timm.create_model("resnet10t", num_classes=2, **arguments)
    assert net.drop_rate == 0.3
    branches = [module.drop_prob for module in net.modules() if isinstance(module, timm.layers.DropPath)]
    assert branches == sorted(branches) and branches[-1] == pytest.approx(0.2)
