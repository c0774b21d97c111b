"""The seam of the optimizer, and the keys that every optimizer has."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    import torch


class Optimizer(Technique):
    """How gradients become steps. Weight decay is not the optimizer's business: `regularization` does it."""

    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate of the new layers."""
    body_lr_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Pretrained layers train at lr times this."""
    layer_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Each stage below the top one trains at this times the rate of the one above it; null: all at one rate."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Images in a step."""
    micro_batch: Annotated[int, Field(ge=1)] | None = None
    """Images that go through the network together, to save memory; null takes the whole batch."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the whole gradient; null never clips."""

    def body_lr(self, depth: int) -> float:
        """Peak rate of the pretrained layers of a stage that has `depth` pretrained stages above it."""
        return self.lr * self.body_lr_ratio * (self.layer_decay or 1.0) ** depth

    def check(self) -> None:
        """Make sure, before any image is looked at, that it can be built here; what is torch's own always can.

        Raises:
            RecipeError: it cannot.
        """

    @abstractmethod
    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The torch optimizer, without weight decay.

        Args:
            groups: torch's parameter groups, each with `params` and its own `lr`.
        """


def fused(groups: list[dict[str, Any]]) -> bool | None:
    """torch's argument of that name: one kernel for all weights on a CPU or a GPU, else what torch chooses."""
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return True if devices in ({"cpu"}, {"cuda"}) else None
