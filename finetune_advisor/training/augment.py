"""The augmentations of a recipe with what they need to know of the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from finetune_advisor.data.pixel_colors import pixel_colors
from finetune_advisor.data.sources import Sample
from finetune_advisor.techniques.augmentation import Augmentation, Context, apply_all
from finetune_advisor.techniques.colors import Colors


@dataclass(frozen=True)
class Augment:
    """The recipe's augmentations, one after the other; a value, so that worker processes can be sent it."""

    techniques: tuple[Augmentation, ...]
    colors: Colors | None

    @staticmethod
    def of(techniques: tuple[Augmentation, ...] | None, train: Sequence[Sample]) -> Augment | None:
        """With what the techniques ask of the training images."""
        if not techniques:
            return None
        needs_colors = any(technique.needs_colors for technique in techniques)
        colors = pixel_colors([sample.path for sample in train]) if needs_colors else None
        return Augment(techniques, colors)

    def __call__(self, image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
        return apply_all(self.techniques, image, rng, Context(size, self.colors))
