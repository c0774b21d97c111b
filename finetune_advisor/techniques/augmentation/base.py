"""The seam of augmentation: one image to one image."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from finetune_advisor.techniques.base import Colors, Technique


@dataclass(frozen=True, slots=True)
class Context:
    """What a technique may know beside the image.

    Attributes:
        size: side of the network's square input, in pixels.
        colors: of the training images; there where some technique of the recipe needs them.
    """

    size: int
    colors: Colors | None = None


class Augmentation(Technique):
    """A random change to a training image that leaves its label true."""

    needs_colors: ClassVar[bool] = False
    """Whether it asks for the colors of the training images."""

    @abstractmethod
    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """A changed copy of an RGB image; the only randomness is `rng`.

        Args:
            image: the image as decoded, of any size, or as the technique before left it.
            rng: the generator that belongs to this image in this epoch.
            context: what else is known.
        """
