"""Images with a window onto another one.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.mixing.base import Mixing

if TYPE_CHECKING:
    from torch import Tensor


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
