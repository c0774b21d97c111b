"""`loss:`, logits and labels to one number for each image.

Shapes: B images of a batch, K classes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Technique):
    """What training makes small."""

    takes_mixed_labels: ClassVar[bool]
    """Whether a target may be probabilities of the classes instead of one class."""

    @abstractmethod
    def per_image(self, logits_BK: Tensor, target: Tensor, weight_K: Tensor | None = None) -> Tensor:
        """The loss of each image, in nats.

        Args:
            logits_BK: the network's output.
            target: class indices (B,), int64; where `takes_mixed_labels`, also probabilities (B, K).
            weight_K: how much each class counts; None means equally.

        Returns:
            loss_B, to be averaged by the caller.
        """

    @abstractmethod
    def at_chance(self, classes: int) -> float:
        """The loss of an image where all classes are named alike, in nats."""

    @abstractmethod
    def lowest(self, target_K: Sequence[float]) -> float:
        """The loss of the best answer there is to a target that gives each class its share, in nats."""


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


AnyLoss: TypeAlias = Annotated[CrossEntropy | Focal, Field(discriminator="kind")]

__all__ = ["AnyLoss", "CrossEntropy", "Focal", "Loss"]
