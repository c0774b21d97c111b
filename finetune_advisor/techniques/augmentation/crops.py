"""Images of which a part is shown or hidden."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from finetune_advisor.techniques.augmentation.base import Augmentation, Context

_ATTEMPTS = 10

Box = tuple[float, float, float, float]


class RandomCrop(Augmentation):
    """Cut a random part of the image and scale it to the network's input.

    Right for almost all photographs; a small share loses the object where it stands at the edge or fills the image.
    """

    source: ClassVar[str] = (
        "slides: data augmentation (random crops/scales); Szegedy et al. 2015, Going Deeper with Convolutions"
    )
    advised: ClassVar[str] = (
        "Wherever layers are trained on images that are not padded; the less data, the smaller the smallest crop."
    )

    kind: Literal["random_crop"] = "random_crop"
    scale: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest share of the image's area that is kept."""
    ratio: tuple[float, float] = (0.75, 1.3333)
    """Smallest and largest width / height of what is kept."""

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"expected [smallest, largest] with 0 < smallest <= largest <= 1, found {list(scale)}")
        return scale

    @field_validator("ratio")
    @classmethod
    def _ratio_is_a_range(cls, ratio: tuple[float, float]) -> tuple[float, float]:
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"expected [smallest, largest] with 0 < smallest <= largest, found {list(ratio)}")
        return ratio

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """A part of the image, exactly as large as the input of the network."""
        box = self.box(*image.size, rng)
        return image.resize((context.size, context.size), Image.Resampling.BICUBIC, box=box)

    def box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        """The part to keep: left, top, right, bottom in pixels.

        Area uniform in `scale`, logarithm of the aspect ratio uniform in `ratio`, place uniform; where ten draws in
        a row do not fit into the image, the largest centered part whose aspect ratio is allowed.
        """
        for _ in range(_ATTEMPTS):
            area = width * height * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            crop_width, crop_height = math.sqrt(area * aspect), math.sqrt(area / aspect)
            if crop_width <= width and crop_height <= height:
                left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
                return left, top, min(left + crop_width, width), min(top + crop_height, height)
        return self._centered(width, height)

    def _centered(self, width: int, height: int) -> Box:
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_width, crop_height = min(width, height * aspect), min(height, width / aspect)
        left, top = (width - crop_width) / 2, (height - crop_height) / 2
        return left, top, left + crop_width, top + crop_height


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
