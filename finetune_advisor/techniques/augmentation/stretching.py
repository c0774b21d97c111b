"""Images made wider or taller."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.augmentation.geometry import Affine, Matrix


class Stretching(Affine):
    """Stretch the image along one side and squeeze it along the other.

    For things that come in many proportions; wrong where the proportion is the label.
    """

    source: ClassVar[str] = "slides: data augmentation (stretching)"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether proportions carry the label; what it brings was not measured."
    )

    kind: Literal["stretching"] = "stretching"
    factor: Annotated[float, Field(ge=1, le=3)] = 1.3
    """Largest change of width / height, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """Width / height times a factor whose logarithm is uniform; the area stays."""
        aspect = math.exp(rng.uniform(-1, 1) * math.log(self.factor))
        return np.diag([1 / math.sqrt(aspect), math.sqrt(aspect), 1.0])
