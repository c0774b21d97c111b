"""Optimizers: torch's own, set as the recipe says."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from finetune_advisor.techniques.optimizer import AdamW, Optimizer, Sgd


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
