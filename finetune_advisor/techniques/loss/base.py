"""The seam of the loss: logits and labels to one number for each image.

Shapes: B images of a batch, K classes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Technique):
    """What training makes small."""

    @abstractmethod
    def per_image(self, logits_BK: Tensor, labels_B: Tensor, weight_K: Tensor | None = None) -> Tensor:
        """The loss of each image, in nats.

        Args:
            logits_BK: the network's output.
            labels_B: class indices, int64.
            weight_K: how much each class counts; None means equally.

        Returns:
            loss_B, to be averaged by the caller.
        """
