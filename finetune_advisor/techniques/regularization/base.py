"""The seams of regularization: how the network is built, and what happens around a step of the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    from torch import Tensor


class Regularization(Technique):
    """What keeps the network from learning by heart; a seam does nothing unless overridden."""

    def model_arguments(self) -> dict[str, Any]:
        """Arguments for `timm.create_model`."""
        return {}

    def before_step(self, parameters: Sequence[Tensor], lr: float) -> None:
        """Change gradients or parameters in place, after the backward pass and before the optimizer's step.

        Args:
            parameters: the parameters of one group; the caller leaves out norms and biases.
            lr: the group's learning rate in this step.
        """

    def after_step(self, parameters: Sequence[Tensor]) -> None:
        """Change parameters in place, after the optimizer's step; the caller leaves out norms and biases."""
