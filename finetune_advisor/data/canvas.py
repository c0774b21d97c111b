"""What an image is brought to before a device changes it: images of a run have one size there, to lie in one tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune_advisor.data.fit import FILTERS, Sides, fit_image
from finetune_advisor.techniques.preprocessing.settings import Preprocess

DETAIL = 2
"""Sides of a canvas are at most this many times the input's: a random crop enlarges a part of it."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The whole of every image, stretched to one size; the maps of places undo the stretching.

    Attributes:
        width: in pixels.
        height: in pixels.
        fitted: what the network would see unchanged takes the place of the whole image: right where an image is only
            mirrored, which a fit does not care about.
    """

    width: int
    height: int
    fitted: bool

    @staticmethod
    def of(sizes_N2: npt.NDArray[np.integer], p: Preprocess, *, only_mirrored: bool) -> Canvas:
        """As large as the largest of the images (width, height), and no larger than is of use."""
        if only_mirrored:
            return Canvas(p.size, p.size, fitted=True)
        width, height = np.minimum(sizes_N2.max(axis=0), DETAIL * p.size).tolist()
        return Canvas(width, height, fitted=False)

    def made(self, image: Image.Image, p: Preprocess) -> Image.Image:
        """An RGB image as it lies on the canvas."""
        if self.fitted:
            return fit_image(image, p)
        sides = (self.width, self.height)
        return image if image.size == sides else image.resize(sides, FILTERS[p.interpolation])

    def sides(self, image: Sides) -> Sides:
        """What counts as the size of an image of this size (width, height) when dice are cast."""
        return (self.width, self.height) if self.fitted else image
