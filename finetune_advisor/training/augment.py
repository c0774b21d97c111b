"""The augmentations of a recipe with what they need to know of the training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune_advisor.data.canvas import Canvas
from finetune_advisor.data.device_augment import DeviceAugment
from finetune_advisor.techniques.augmentation import Augmentation, Context, Drawn, apply_all
from finetune_advisor.techniques.augmentation.changes import Mirror
from finetune_advisor.techniques.colors import Colors
from finetune_advisor.techniques.preprocessing import Preprocess
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

    def on_device(self, preprocess: Preprocess, sizes_N2: npt.NDArray[np.integer]) -> DeviceAugment:
        """The same for a device, by the same dice.

        Args:
            preprocess: the network's input.
            sizes_N2: width and height of each training image, in pixels.
        """
        drawn = tuple(technique for technique in self.techniques if isinstance(technique, Drawn))
        assert len(drawn) == len(self.techniques), "checked by Recipe"
        only_mirrored = all(technique.makes is Mirror for technique in drawn)
        return DeviceAugment(
            drawn, self.colors, preprocess, Canvas.of(sizes_N2, preprocess, only_mirrored=only_mirrored)
        )


def augment_of(prepared: Prepared) -> Augment | DeviceAugment | None:
    """What changes the training images of a run, where the recipe says; None: nothing does.

    Raises:
        DataError: it depends on the training images, and one of them cannot be read any more.
    """
    recipe, data = prepared.recipe, prepared.data
    augment = Augment.of(recipe.augmentation, lambda: prepared.colors)
    if augment is None or recipe.runtime.augment_on == "cpu":
        return augment
    return augment.on_device(prepared.preprocess, data.looks.sizes_N2[data.index("train")])
