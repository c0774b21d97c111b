"""The seam of the loss: logits and labels to one number for each image.

Shapes: B images of a batch, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

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
