"""The seam of initialization: fill the new classifier.

Shapes: K classes, D features.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Initialization(Technique):
    """What the new classifier starts from."""

    @abstractmethod
    def fill(self, weight_KD: Tensor, bias_K: Tensor, generator: torch.Generator) -> None:
        """Fill a linear layer's weight (K, D) and bias (K) in place; the only randomness is `generator`."""
