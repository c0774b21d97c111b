"""Optimizers: torch's own and timm's, set as the recipe says."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from finetune_advisor.errors import RecipeError
from finetune_advisor.techniques.optimizer import AdamW, Optimizer, Sgd, Timm


@pytest.mark.parametrize("technique", [Sgd(momentum=0.8, nesterov=True), AdamW(betas=(0.8, 0.99), eps=1e-6)])
def test_each_group_keeps_its_rate_and_nothing_decays(technique: Optimizer) -> None:
    body, head = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    optimizer = technique.build([{"params": [body], "lr": 0.01}, {"params": [head], "lr": 0.1}])
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    for group in optimizer.param_groups:
        assert group["weight_decay"] == 0
        settings = {key: group[key] for key in ("momentum", "nesterov", "betas", "eps") if key in group}
        assert settings == {key: getattr(technique, key) for key in settings}


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="set nesterov to false"):
        Sgd(momentum=0.0, nesterov=True)


@pytest.mark.parametrize("ratio", [0.0, 1.5])
def test_pretrained_layers_never_train_faster_than_new_ones_nor_not_at_all(ratio: float) -> None:
    with pytest.raises(ValidationError):
        AdamW(body_lr_ratio=ratio)


def trained_by(technique: Optimizer, steps: int = 3) -> list[torch.Tensor]:
    """Weights of two groups after some steps on fixed gradients."""
    torch.manual_seed(0)
    body, head = torch.ones(3, 4, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = technique.build([{"params": [body], "lr": 0.01}, {"params": [head], "lr": 0.1}])
    for _ in range(steps):
        for weight in (body, head):
            weight.grad = torch.randn_like(weight)
        optimizer.step()
    return [body.detach(), head.detach()]


@pytest.mark.parametrize(
    ("named", "own"),
    [
        (Timm(name="adamw", betas=(0.8, 0.99), eps=1e-6), AdamW(betas=(0.8, 0.99), eps=1e-6)),
        (Timm(name="momentum", momentum=0.7), Sgd(momentum=0.7)),
        (Timm(name="nesterov", momentum=0.7), Sgd(momentum=0.7, nesterov=True)),
    ],
)
def test_timm_s_names_mean_what_ours_do(named: Timm, own: Optimizer) -> None:
    named.check()
    torch.testing.assert_close(trained_by(named), trained_by(own))


@pytest.mark.parametrize("name", ["lamb", "lion", "rmsprop", "muon", "adan", "cadamw", "sgdp", "adabelief", "laprop"])
def test_timm_s_optimizers_step_at_the_rate_of_each_group_and_decay_nothing(name: str) -> None:
    technique = Timm(name=name, lr=0.01)
    technique.check()
    weight = torch.ones(3, 4, requires_grad=True)
    still = torch.ones(2, requires_grad=True)
    optimizer = technique.build([{"params": [weight], "lr": 0.01, "name": "head", "decays": True}, {"params": [still]}])
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01]
    assert all(group["weight_decay"] == 0 for group in optimizer.param_groups)
    weight.grad, still.grad = torch.randn(3, 4), torch.zeros(2)
    optimizer.step()
    assert (weight != 1).all() and weight.isfinite().all()
    torch.testing.assert_close(still.detach(), torch.ones(2))


@pytest.mark.parametrize(
    ("technique", "says"),
    [
        (Timm(name="lmab"), "optimizer.name: timm has no optimizer 'lmab'; did you mean 'lamb'"),
        (Timm(name="adahessian"), "second derivatives"),
        (Timm(name="kronw"), "does not fit a checkpoint"),
        (Timm(name="lion", eps=1e-6), "optimizer.eps: lion has no eps; set it to null"),
        (Timm(name="lamb", momentum=0.9), "optimizer.momentum: lamb has no momentum"),
        (Timm(name="adan", betas=(0.9, 0.99)), "optimizer.betas: adan takes 3 values, found 2"),
    ],
)
def test_what_timm_cannot_build_is_told_with_its_key(technique: Timm, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        technique.check()
    assert says in str(caught.value)


def test_every_wrong_key_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        Timm(name="lion", eps=1e-6, momentum=0.9).check()
    assert [problem.key for problem in caught.value.problems] == ["optimizer.momentum", "optimizer.eps"]
