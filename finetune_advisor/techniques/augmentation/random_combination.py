"""Some of several changes, in random order."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.color_jitter import ColorJitter
from finetune_advisor.techniques.augmentation.geometry import apply_all
from finetune_advisor.techniques.augmentation.horizontal_flip import HorizontalFlip
from finetune_advisor.techniques.augmentation.lens_distortion import LensDistortion
from finetune_advisor.techniques.augmentation.rotation import Rotation
from finetune_advisor.techniques.augmentation.shearing import Shearing
from finetune_advisor.techniques.augmentation.stretching import Stretching
from finetune_advisor.techniques.augmentation.translation import Translation
from finetune_advisor.techniques.augmentation.vertical_flip import VerticalFlip

Member = Literal[
    "translation",
    "rotation",
    "stretching",
    "shearing",
    "lens_distortion",
    "color_jitter",
    "horizontal_flip",
    "vertical_flip",
]

_MEMBERS: dict[Member, Augmentation] = {
    "translation": Translation(),
    "rotation": Rotation(),
    "stretching": Stretching(),
    "shearing": Shearing(),
    "lens_distortion": LensDistortion(),
    "color_jitter": ColorJitter(),
    "horizontal_flip": HorizontalFlip(),
    "vertical_flip": VerticalFlip(),
}


class RandomCombination(Augmentation):
    """Some of the named changes, chosen and ordered by lot for each image, each at its usual strength.

    Right where no single change stands out as the one that the data needs.
    """

    source: ClassVar[str] = "slides: data augmentation (random mix/combinations: go crazy)"
    not_advised: ClassVar[str] = (
        "Most of what it draws from are changes of which `analyze` does not measure whether the labels bear them."
    )

    kind: Literal["random_combination"] = "random_combination"
    of: Annotated[tuple[Member, ...], Field(min_length=1)] = (
        "translation",
        "rotation",
        "stretching",
        "shearing",
        "lens_distortion",
    )
    """The changes to choose from."""
    count: Annotated[int, Field(ge=1)] = 2
    """How many of them each image gets."""

    @model_validator(mode="after")
    def _enough(self) -> RandomCombination:
        if len(set(self.of)) < len(self.of):
            raise ValueError("expected different changes in `of`")
        if self.count > len(self.of):
            raise ValueError(f"expected `count` of at most {len(self.of)}, the changes in `of`, found {self.count}")
        return self

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image after `count` of the changes."""
        chosen = [_MEMBERS[self.of[index]] for index in rng.permutation(len(self.of))[: self.count]]
        return apply_all(chosen, image, rng, context)
