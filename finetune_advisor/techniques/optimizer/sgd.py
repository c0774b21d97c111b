"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from finetune_advisor.techniques.optimizer.base import Optimizer, fused

if TYPE_CHECKING:
    import torch


class Sgd(Optimizer):
    """Step along a running average of the gradients.

    Cheapest in memory and often the best in the end, with a well-chosen rate.
    """

    source: ClassVar[str] = "slides: during training (a typical learning rate is 0.1); Sutskever et al. 2013"
    not_advised: ClassVar[str] = (
        "Its rate has to be searched for on each data set, which few images do not allow; it was not compared with "
        "`adamw` on equal terms."
    )

    kind: Literal["sgd"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    """Peak learning rate of the new layers."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the last step that is taken again."""
    nesterov: bool = False
    """Look ahead along the momentum before taking the gradient."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the momentum, found momentum 0; set nesterov to false")
        return self

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """`torch.optim.SGD` over the groups."""
        import torch

        return torch.optim.SGD(
            groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=0.0, fused=fused(groups)
        )
