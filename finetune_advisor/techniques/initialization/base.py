"""The seam of initialization: fill the new classifier.

Shapes: K classes, D features.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Fitted:
    """A linear classifier that was fitted on the features of the training images: logits = x @ weight.T + bias."""

    weight_KD: Tensor
    bias_K: Tensor


class Initialization(Technique):
    """What the new classifier starts from."""

    needs_features: ClassVar[bool] = False
    """Whether the training images go through the frozen network first, to fit the classifier that `fill` is given."""

    @abstractmethod
    def fill(
        self, weight_KD: Tensor, bias_K: Tensor, generator: torch.Generator, *, fitted: Fitted | None = None
    ) -> None:
        """Fill a linear layer's weight (K, D) and bias (K) in place; the only randomness is `generator`.

        Args:
            fitted: what was fitted on the features, of the layer's shape; None unless `needs_features`.
        """
