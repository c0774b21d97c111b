"""The augmentations of a recipe with what they need to know of the training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from finetune_advisor.techniques.augmentation import Augmentation, Context, apply_all
from finetune_advisor.techniques.colors import Colors
from finetune_advisor.training.prepare import Prepared


@dataclass(frozen=True)
class Augment:
    """The recipe's augmentations, one after the other; a value, so that worker processes can be sent it."""

    techniques: tuple[Augmentation, ...]
    colors: Colors | None

    @staticmethod
    def of(techniques: tuple[Augmentation, ...] | None, colors: Callable[[], Colors]) -> Augment | None:
        """With the colors of the training images, where a technique asks for them."""
        if not techniques:
            return None
        return Augment(techniques, colors() if any(technique.needs_colors for technique in techniques) else None)

    def __call__(self, image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
        return apply_all(self.techniques, image, rng, Context(size, self.colors))


def augment_of(prepared: Prepared) -> Augment | None:
    """What changes the training images of a run, where the recipe says; None: nothing does.

    Raises:
        DataError: it depends on the training images, and one of them cannot be read any more.
    """
    return Augment.of(prepared.recipe.augmentation, lambda: prepared.colors)
