"""Random changes of light and color."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)

Amount: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation at random, in random order.

    Wrong where color is the label: ripeness, stains, litmus.
    """

    source: ClassVar[str] = "slides: data augmentation (color jittering)"
    advised: ClassVar[str] = (
        "Where images without color score as before, within 1 point or one standard error, and a probe loses nothing "
        "by learning both; brightness and contrast alone where all images are gray."
    )

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Amount = 0.2
    """Brightness is multiplied by a number from 1 - this to 1 + this."""
    contrast: Amount = 0.2
    """Distance from the mean gray, likewise."""
    saturation: Amount = 0.2
    """Distance from the image's own grays, likewise."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image under another light."""
        amounts = (self.brightness, self.contrast, self.saturation)
        order = rng.permutation(3).tolist()
        factors = [1 + rng.uniform(-amounts[index], amounts[index]) for index in order]
        for index, factor in zip(order, factors, strict=True):
            image = _ENHANCERS[index](image).enhance(factor)
        return image
