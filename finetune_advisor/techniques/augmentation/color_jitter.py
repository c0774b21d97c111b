"""Random changes of light and color."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context

Amount: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation at random, in random order.

    Wrong where color is the label: ripeness, stains, litmus.
    """

    source: ClassVar[str] = "slides: data augmentation (color jittering)"

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Amount = 0.2
    """Brightness is multiplied by a number from 1 - this to 1 + this."""
    contrast: Amount = 0.2
    """Distance from the mean gray, likewise."""
    saturation: Amount = 0.2
    """Distance from the image's own grays, likewise."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image under another light."""
        changes = (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        )
        for index in rng.permutation(len(changes)):
            enhance, amount = changes[index]
            image = enhance(image).enhance(1 + rng.uniform(-amount, amount))
        return image
