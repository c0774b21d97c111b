"""Turned images."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from finetune_advisor.techniques.augmentation.geometry import Affine, Matrix


class Rotation(Affine):
    """Turn the image by a random angle.

    Small angles suit any photograph; 180 suits what has no up (surfaces, cells, views from above). Quarter turns
    (`step: 90`) keep every line as straight and as sharp as it was.
    """

    source: ClassVar[str] = "slides: data augmentation (rotation)"
    advised: ClassVar[str] = (
        "Quarter turns, where images turned by 90 degrees score as before, within 1 point or one standard error, a "
        "probe loses nothing by learning both, and the flips do not speak against half a turn."
    )

    kind: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest angle, in either direction."""
    step: Annotated[float, Field(gt=0, le=180)] | None = None
    """Angles are rounded to multiples of this; null: any angle. 90 with `degrees: 180` draws quarter turns evenly."""

    @model_validator(mode="after")
    def _turns(self) -> Rotation:
        if self.step is not None and self.step > self.degrees:
            raise ValueError(f"expected `step` of at most `degrees`, found {self.step:g} and {self.degrees:g}")
        return self

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """A turn about the center."""
        angle = rng.uniform(-self.degrees, self.degrees)
        if self.step is not None:
            angle = self.step * round(angle / self.step)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        # Rounded, because the cosine of 90 degrees is 6e-17: a quarter turn would fall just beside the pixels.
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]).round(12)
