"""The seam of mixing: two images to one, and how much of the label belongs to each.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    from torch import Tensor


class Mixing(Technique):
    """Training on mixtures of two images, whose labels are mixed alike."""

    alpha: Annotated[float, Field(gt=0)]
    """Both parameters of the Beta distribution that an image's share is drawn from, once a batch."""
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the batches that are mixed."""

    def drawn_share(self, rng: np.random.Generator) -> float:
        """How much of itself each image of a batch keeps: 1 in batches that are not mixed, else Beta(alpha, alpha)."""
        return float(rng.beta(self.alpha, self.alpha)) if rng.random() < self.probability else 1.0

    @abstractmethod
    def mix(self, x_BCHW: Tensor, partner_BCHW: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
        """New images, and the share of their labels that is their own; the arguments stay as they are.

        Args:
            x_BCHW: pixels, uint8.
            partner_BCHW: the image that each one is mixed with.
            share: drawn, how much of itself each image is to keep.
            rng: the generator that belongs to this step.

        Returns:
            Images on the scale of the pixels, uint8 or float32, and what each has kept of itself in the end.
        """
