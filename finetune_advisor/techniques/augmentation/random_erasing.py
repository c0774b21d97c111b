"""Images of which a part is hidden."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from finetune_advisor.techniques.augmentation.base import Augmentation, Context

_ATTEMPTS = 10


class RandomErasing(Augmentation):
    """Fill a random rectangle with noise, so that no single part of an object is relied on.

    It belongs at the end of the list: what comes later would bend or cut the rectangle.
    """

    source: ClassVar[str] = "Zhong et al. 2020, Random Erasing Data Augmentation"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether a hidden part carries the label, as small defects do; what it brings was "
        "not measured."
    )

    kind: Literal["random_erasing"] = "random_erasing"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the images of which a part is hidden."""
    scale: tuple[float, float] = (0.02, 0.33)
    """Smallest and largest share of the area that is hidden."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """Smallest and largest height / width of the rectangle."""

    @field_validator("scale", "ratio")
    @classmethod
    def _is_a_range(cls, values: tuple[float, float]) -> tuple[float, float]:
        if not 0 < values[0] <= values[1]:
            raise ValueError(f"expected [smallest, largest] with 0 < smallest <= largest, found {list(values)}")
        return values

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image, a part of it hidden with the given probability, unless ten rectangles in a row do not fit."""
        if rng.random() >= self.probability:
            return image
        width, height = image.size
        for _ in range(_ATTEMPTS):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            wide, tall = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < wide < width and 0 < tall < height:
                left, top = int(rng.integers(width - wide)), int(rng.integers(height - tall))
                pixels_HWC = np.array(image)
                pixels_HWC[top : top + tall, left : left + wide] = rng.integers(0, 256, (tall, wide, 3), dtype=np.uint8)
                return Image.fromarray(pixels_HWC)
        return image
