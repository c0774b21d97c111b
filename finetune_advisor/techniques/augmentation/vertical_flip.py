"""Images turned upside down by a mirror."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context


class VerticalFlip(Augmentation):
    """Mirror the image top to bottom.

    Right where nothing is up: textures, surfaces, cells, views from above; wrong for most photographs and for text.
    """

    source: ClassVar[str] = "slides: data augmentation (flips)"
    advised: ClassVar[str] = (
        "Where images upside down score as before, within 1 point or one standard error, and a probe loses nothing by "
        "learning both."
    )

    kind: Literal["vertical_flip"] = "vertical_flip"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the images that are mirrored."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image, mirrored with the given probability."""
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if rng.random() < self.probability else image
