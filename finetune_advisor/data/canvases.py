"""Training images that a device changes: here they are read, laid on their canvas, and their dice cast.

Shapes: B images, C channels (3), H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune_advisor.data.augmented import (
    Augment,
    Augmented,
    Seen,
    TrainingImages,
    Unreadable,
    read_training_image,
)
from finetune_advisor.data.device_augment import DeviceAugment
from finetune_advisor.data.kept_pixels import KeptPixels, Picture
from finetune_advisor.data.plan import image_rng
from finetune_advisor.data.sources import Sample
from finetune_advisor.errors import UnreadableImage
from finetune_advisor.techniques.preprocessing.settings import Preprocess


@dataclass(frozen=True, slots=True)
class Canvases:
    """Training images with what is to be done to each, a pure function of (seed, epoch, image).

    Attributes:
        kept: the first of them as they lie on the canvas, which are then not decoded again.
    """

    samples: Sequence[Sample]
    augment: DeviceAugment
    seed: int
    kept: KeptPixels | None = None

    def picture(self, index: int) -> Picture:
        """One image as it lies on the canvas (H, W, C).

        Raises:
            UnreadableImage: it cannot be read any more.
        """
        if self.kept is not None and index < len(self.kept):
            return self.kept.read(index)
        image = read_training_image(self.samples[index], self.augment.preprocess)
        return Picture(np.asarray(self.augment.canvas.made(image, self.augment.preprocess)), image.size)

    def batch(self, indices: Sequence[int], epochs: Sequence[int]) -> Seen | Unreadable:
        """These images with the stages of each of these epochs, or the first that cannot be read."""
        canvas, found = self.augment.canvas, list[Picture]()
        for index in indices:
            try:
                found.append(self.picture(index))
            except UnreadableImage as problem:
                return Unreadable(self.samples[index].name, problem.message)
        pixels_BCHW = np.empty((len(found), 3, canvas.height, canvas.width), np.uint8)
        for place, picture in enumerate(found):
            pixels_BCHW[place] = picture.pixels.transpose(2, 0, 1)
        sides = [picture.sides for picture in found]
        dice = [[image_rng(self.seed, epoch, index) for index in indices] for epoch in epochs]
        changes = [list(map(self.augment.changes, sides, rngs)) for rngs in dice]
        return Seen(pixels_BCHW, tuple(self.augment.groups(each, sides) for each in changes))


def training_images(
    samples: Sequence[Sample],
    preprocess: Preprocess,
    augment: Augment | DeviceAugment | None,
    seed: int,
    kept: KeptPixels | None,
) -> TrainingImages:
    """Training images, changed where the augmentation says."""
    if isinstance(augment, DeviceAugment):
        return Canvases(samples, augment, seed, kept)
    return Augmented(samples, preprocess, augment, seed, kept)
