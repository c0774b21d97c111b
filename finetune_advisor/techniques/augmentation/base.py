"""The seam of augmentation: one image to one image."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from PIL import Image

from finetune_advisor.techniques.base import Technique


class Augmentation(Technique):
    """A random change to a training image that leaves its label true."""

    @abstractmethod
    def apply(self, image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
        """A changed copy of an RGB image; the only randomness is `rng`.

        Args:
            image: the image as decoded, of any size, or as the technique before left it.
            rng: the generator that belongs to this image in this epoch.
            size: side of the network's square input, in pixels.
        """
