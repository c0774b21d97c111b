"""The seams of regularization: how the network is built, what its features cost, and what happens around a step.

Shapes: B images, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Matrices and filters of one group that train in this step, without norms, biases and what is still frozen.

    Attributes:
        names: of each, in the network.
        tensors: the weights themselves, an output unit in each row.
        new: whether they belong to the new classifier, rather than to the layers below it.
        starts: what each was before training; empty unless a technique says `needs_starts`, and for new layers.
    """

    names: Sequence[str]
    tensors: Sequence[Tensor]
    new: bool = False
    starts: Sequence[Tensor] = ()


class Regularization(Technique):
    """What keeps the network from learning by heart; a seam does nothing unless overridden."""

    needs_starts: ClassVar[bool] = False
    """Whether it looks at what pretrained weights were before training."""

    def model_arguments(self) -> dict[str, Any]:
        """Arguments for building the network."""
        return {}

    def named_layers(self) -> Sequence[str]:
        """Layers of the network that it is told to act on by name; each must be there and train."""
        return ()

    def before_step(self, weights: Weights, *, lr: float, progress: float) -> None:
        """Change gradients or weights in place, after the backward pass and before the optimizer's step.

        Args:
            weights: of one group.
            lr: the group's learning rate in this step.
            progress: share of the training that is done, in [0, 1).
        """

    def after_step(self, weights: Weights) -> None:
        """Change weights in place, after the optimizer's step."""


class FeaturePenalty(Regularization):
    """A cost of what the classifier's inputs do on average over a whole batch."""

    def reading(self, x_BD: Tensor) -> Tensor:
        """What is averaged over the batch, of each feature: (B, D)."""
        raise NotImplementedError

    def penalty(self, mean_D: Tensor) -> Tensor:
        """The cost of these averages, in nats: one number beside the mean loss."""
        raise NotImplementedError
