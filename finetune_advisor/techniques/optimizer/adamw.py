"""Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.optimizer.base import Optimizer, fused

if TYPE_CHECKING:
    import torch

Beta: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Optimizer):
    """Step along a running average of the gradients, each weight's scaled by its own recent size.

    Forgiving about the rate, and the choice for transformers and for short fine-tuning.
    """

    source: ClassVar[str] = "Kingma & Ba 2015, Adam; Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization"
    advised: ClassVar[str] = (
        "Wherever layers are trained; its rates follow from the batch, the start of the classifier and the similarity."
    )

    kind: Literal["adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate of the new layers."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """How much of the averages of gradient and square is kept."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Keeps the division by a small average finite."""

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """`torch.optim.AdamW` over the groups."""
        import torch

        return torch.optim.AdamW(
            groups, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=0.0, fused=fused(groups)
        )
