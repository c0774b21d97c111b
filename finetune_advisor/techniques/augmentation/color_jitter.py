"""Random changes of light and color."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageEnhance
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Context, Drawn
from finetune_advisor.techniques.augmentation.changes import Light

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)

Amount: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class ColorJitter(Drawn):
    """Change brightness, contrast and saturation at random, in random order.

    Wrong where color is the label: ripeness, stains, litmus.
    """

    source: ClassVar[str] = "slides: data augmentation (color jittering)"
    advised: ClassVar[str] = (
        "Where images without color score as before, within 1 point or one standard error, and a probe loses nothing "
        "by learning both; brightness and contrast alone where all images are gray."
    )

    makes: ClassVar[type[Light]] = Light

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Amount = 0.2
    """Brightness is multiplied by a number from 1 - this to 1 + this."""
    contrast: Amount = 0.2
    """Distance from the mean gray, likewise."""
    saturation: Amount = 0.2
    """Distance from the image's own grays, likewise."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image under another light."""
        (light,) = self.draw(rng, *image.size, context)
        for index, factor in zip(light.order, light.factors, strict=True):
            image = _ENHANCERS[index](image).enhance(factor)
        return image

    def draw(self, rng: np.random.Generator, width: int, height: int, context: Context) -> tuple[Light]:  # noqa: ARG002
        """The order of the three, and how much each changes."""
        amounts = (self.brightness, self.contrast, self.saturation)
        first, second, third = rng.permutation(3).tolist()
        one, two, three = (1 + rng.uniform(-amounts[index], amounts[index]) for index in (first, second, third))
        return (Light((first, second, third), (one, two, three)),)
