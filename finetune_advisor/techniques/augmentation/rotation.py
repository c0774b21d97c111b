"""Turned images."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.augmentation.geometry import Affine, Matrix


class Rotation(Affine):
    """Turn the image by a random angle.

    Small angles suit any photograph; 180 suits what has no up (surfaces, cells, views from above).
    """

    source: ClassVar[str] = "slides: data augmentation (rotation)"
    not_advised: ClassVar[str] = (
        "`analyze` shows no probe turned images, so whether the labels bear it is not known; what it brings was not "
        "measured."
    )

    kind: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest angle, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """A turn about the center."""
        angle = math.radians(rng.uniform(-self.degrees, self.degrees))
        cosine, sine = math.cos(angle), math.sin(angle)
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
