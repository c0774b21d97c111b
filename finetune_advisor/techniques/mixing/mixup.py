"""Images that shine through each other.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.mixing.base import Mixing

if TYPE_CHECKING:
    from torch import Tensor


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
