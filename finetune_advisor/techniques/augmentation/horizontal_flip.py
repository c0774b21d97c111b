"""Mirror images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context


class HorizontalFlip(Augmentation):
    """Mirror the image left to right.

    Right for photographs; wrong where the side carries the label: text, road signs, left and right hands.
    """

    source: ClassVar[str] = "slides: data augmentation (flip horizontally)"
    advised: ClassVar[str] = (
        "Where mirrored held-out images score as before, within 2 points or two standard errors, or a probe gains by "
        "mirrored copies; also where that could not be measured."
    )

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the images that are mirrored."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image, mirrored with the given probability."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < self.probability else image
