"""Cross entropy that looks away from what is already right.

Shapes: B images of a batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.loss.base import Loss

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    """Cross entropy times (1 - p)^gamma, p the probability of the label: easy images count little.

    For data of which a few images are hard and many are easy. The factor lowers confidence; the probabilities are no
    longer those of cross entropy.
    """

    source: ClassVar[str] = "Lin et al. 2017, Focal Loss for Dense Object Detection"
    not_advised: ClassVar[str] = (
        "It looks hardest at images whose labels are wrong, and takes no label smoothing against that; what it brings "
        "was not measured."
    )
    takes_mixed_labels: ClassVar[bool] = False

    kind: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """How fast an image that is recognized loses weight; 0 is cross entropy."""

    def per_image(self, logits_BK: Tensor, target: Tensor, weight_K: Tensor | None = None) -> Tensor:
        """(1 - p)^gamma times -log p of the label, times the weight of its class: loss_B, in nats."""
        from torch.nn import functional

        entropy_B = functional.cross_entropy(logits_BK, target, reduction="none")
        # 1 - p, whose power has no finite slope at 0.
        missed_B = (-(-entropy_B).expm1()).clamp_min(1e-12)
        loss_B = missed_B**self.gamma * entropy_B
        return loss_B if weight_K is None else loss_B * weight_K[target]

    def at_chance(self, classes: int) -> float:
        """(1 - 1 / K)^gamma log K."""
        return float((1 - 1 / classes) ** self.gamma * math.log(classes))

    def lowest(self, target_K: Sequence[float]) -> float:  # noqa: ARG002
        """Nothing: the one class of each image can be named with certainty."""
        return 0.0
