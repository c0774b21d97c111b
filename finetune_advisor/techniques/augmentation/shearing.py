"""Slanted images."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.augmentation.geometry import Affine, Matrix


class Shearing(Affine):
    """Slant the image sideways or upward, as a parallelogram.

    For handwriting and for things seen at an angle.
    """

    source: ClassVar[str] = "slides: data augmentation (shearing)"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether slants carry the label; what it brings was not measured."
    )

    kind: Literal["shearing"] = "shearing"
    degrees: Annotated[float, Field(ge=0, le=60)] = 10.0
    """Largest slant, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """A slant along one of the two sides, drawn by lot."""
        slant = math.tan(math.radians(rng.uniform(-self.degrees, self.degrees)))
        matrix = np.eye(3)
        matrix[(0, 1) if rng.random() < 0.5 else (1, 0)] = slant
        return matrix
