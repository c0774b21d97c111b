"""Weight decay toward the pretrained weights."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization, Weights


class L2Sp(Regularization):
    """Pull pretrained weights toward what they were before training, and new ones toward zero.

    For fine-tuning on few images, where the pretrained weights are worth more than zeros.
    """

    source: ClassVar[str] = "Li et al. 2018, Explicit Inductive Bias for Transfer Learning (arXiv:1802.01483)"
    not_advised: ClassVar[str] = (
        "The small rates of pretrained layers keep them near their start already; it was not compared with `l2`."
    )
    needs_starts: ClassVar[bool] = True

    kind: Literal["l2_sp"] = "l2_sp"
    strength: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How hard pretrained weights are pulled back: the multiple of the way they have gone."""
    new_strength: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How hard the new classifier is pulled toward zero."""
    decoupled: bool = True
    """true: go back by lr * strength; false: add to the gradient, as in the paper."""

    def before_step(self, weights: Weights, *, lr: float, progress: float) -> None:  # noqa: ARG002
        """Add strength * (weight - start) to the gradient, or take lr times that off the weight; new ones start at 0.

        A weight without a gradient is not part of this step and is left alone.
        """
        import torch

        strength = self.new_strength if weights.new else self.strength
        starts = [None] * len(weights.tensors) if weights.new else weights.starts
        with torch.no_grad():
            for weight, start in zip(weights.tensors, starts, strict=True):
                if weight.grad is None:
                    continue
                way = weight if start is None else weight - start
                if self.decoupled:
                    weight.sub_(way, alpha=lr * strength)
                else:
                    weight.grad.add_(way, alpha=strength)
