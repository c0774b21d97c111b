"""Cross entropy with label smoothing.

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


class CrossEntropy(Loss):
    """Negative log probability of the label, with some of the label spread over all classes.

    The loss of almost every classifier; smoothing 0.1 keeps it from being certain, which helps where labels are
    noisy.
    """

    source: ClassVar[str] = "Szegedy et al. 2016, Rethinking the Inception Architecture (label smoothing)"
    advised: ClassVar[str] = "Wherever layers are trained, with a smoothing of 0.1."
    takes_mixed_labels: ClassVar[bool] = True

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the label that is spread over all classes; 0 is off."""

    def per_image(self, logits_BK: Tensor, target: Tensor, weight_K: Tensor | None = None) -> Tensor:
        """Cross entropy against (1 - s) target + s / K, each class times its weight: loss_B, in nats."""
        from torch.nn import functional

        return functional.cross_entropy(
            logits_BK, target, weight=weight_K, reduction="none", label_smoothing=self.label_smoothing
        )

    def at_chance(self, classes: int) -> float:
        """log K, whatever the target."""
        return math.log(classes)

    def lowest(self, target_K: Sequence[float]) -> float:
        """The entropy of the smoothed target."""
        spread = self.label_smoothing / len(target_K)
        smoothed = [(1 - self.label_smoothing) * share + spread for share in target_K]
        return -sum(share * math.log(share) for share in smoothed if share > 0)
