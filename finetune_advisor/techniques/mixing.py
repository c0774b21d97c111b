"""`mixing:`, two images to one, and how much of the label belongs to each.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

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


class MixUp(Mixing):
    """Train on weighted means of two images, with the weighted mean of their labels.

    It needs long training: for a few epochs on little data it is more often a loss than a gain.
    """

    source: ClassVar[str] = "Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization"
    not_advised: ClassVar[str] = "Advised training is short; what it brings there was not measured."

    kind: Literal["mixup"] = "mixup"
    alpha: Annotated[float, Field(gt=0)] = 0.2
    """Both parameters of the Beta distribution of the weight, drawn once a batch: small is little mixing, 1 uniform."""

    def mix(
        self,
        x_BCHW: Tensor,
        partner_BCHW: Tensor,
        share: float,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, float]:
        """`share` times the image and the rest its partner, float32."""
        return partner_BCHW.float().lerp_(x_BCHW.float(), share), share


class CutMix(Mixing):
    """Paste a rectangle of another image into each, and share the label by area.

    It needs long training, and objects that fill their image: a rectangle may hide a small one, whose label stays.
    """

    source: ClassVar[str] = "Yun et al. 2019, CutMix: Regularization Strategy to Train Strong Classifiers"
    not_advised: ClassVar[str] = "Advised training is short; what it brings there was not measured."

    kind: Literal["cutmix"] = "cutmix"
    alpha: Annotated[float, Field(gt=0)] = 1.0
    """Both parameters of the Beta distribution of the area that is kept, drawn once a batch: 1 is uniform."""

    def mix(self, x_BCHW: Tensor, partner_BCHW: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The images with a rectangle of their partners; the share is counted in pixels, after cutting at the border.

        The rectangle has the image's shape, `1 - share` of its area, and its center anywhere.
        """
        height, width = x_BCHW.shape[-2:]
        top, bottom = _cut(height, share, rng)
        left, right = _cut(width, share, rng)
        mixed_BCHW = x_BCHW.clone()
        mixed_BCHW[..., top:bottom, left:right] = partner_BCHW[..., top:bottom, left:right]
        return mixed_BCHW, 1 - (bottom - top) * (right - left) / (height * width)


def _cut(side: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Where the rectangle begins and ends along a side."""
    length, center = int(side * math.sqrt(1 - share)), int(rng.integers(side))
    return max(center - length // 2, 0), min(center - length // 2 + length, side)


AnyMixing: TypeAlias = Annotated[MixUp | CutMix, Field(discriminator="kind")]

__all__ = ["AnyMixing", "CutMix", "MixUp", "Mixing"]
