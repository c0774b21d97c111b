"""What is remembered of an image's looks when it is decoded: thumbnails, its size, its color mode.

Shapes: N images, H height and W width of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

THUMBNAIL = 48
"""Side of a thumbnail in pixels: at 32 crops of fine textures go unnoticed, at 64 60,000 images take 250 MB."""

COLOR_THUMBNAIL = 12
"""Side of a color thumbnail: enough to compare the colors of two images part by part."""

DETAIL = 512
"""Shorter side, in pixels, that a JPEG is decoded with at least for its thumbnail, whatever else it is decoded for: at
another scale of the decoder a thumbnail looks different, and copies of an image would be those of one command alone."""

MODES = ("RGB", "L", "RGBA", "LA", "P", "PA", "CMYK", "YCbCr", "1", "I", "I;16", "F", "LAB", "HSV", "RGBX", "other")
"""Color modes as Pillow names them; a mode is stored as its place here."""


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks of N images."""

    thumbnails_NHW: npt.NDArray[np.uint8]
    """Gray, the whole image stretched to a square, each pixel the mean of the area it stands for."""
    sizes_N2: npt.NDArray[np.int64]
    """Width and height in pixels as a person sees the image, after the camera's rotation."""
    modes: tuple[str, ...]
    """Color mode of each file, as Pillow names it."""
    colors_NHWC: npt.NDArray[np.uint8]
    """RGB, the same square at `COLOR_THUMBNAIL` pixels."""

    def __len__(self) -> int:
        return len(self.modes)

    def rows(self, index_N: npt.NDArray[np.integer] | Sequence[int]) -> Looks:
        """The same for a selection of images."""
        index_N = np.asarray(index_N, dtype=np.intp)
        modes = tuple(self.modes[i] for i in index_N)
        return Looks(self.thumbnails_NHW[index_N], self.sizes_N2[index_N], modes, self.colors_NHWC[index_N])


def thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The thumbnail (H, W) of an RGB image that was decoded at `DETAIL`."""
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small.convert("L"))


def color_thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The color thumbnail (H, W, 3) of an RGB image that was decoded at `DETAIL`."""
    return np.asarray(image.resize((COLOR_THUMBNAIL, COLOR_THUMBNAIL), Image.Resampling.BOX))


def mode_index(mode: str) -> int:
    """How a color mode is stored."""
    name = "I;16" if mode.startswith("I;16") else mode
    return MODES.index(name) if name in MODES else len(MODES) - 1


def looks_of(
    thumbnails: Sequence[npt.NDArray[np.uint8]],
    sizes: Sequence[tuple[int, int]],
    modes: Sequence[str],
    colors: Sequence[npt.NDArray[np.uint8]],
) -> Looks:
    """The looks of images, gathered one by one; there may be none."""
    thumbnails_NHW = np.array(thumbnails, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
    colors_NHWC = np.array(colors, np.uint8).reshape(-1, COLOR_THUMBNAIL, COLOR_THUMBNAIL, 3)
    return Looks(thumbnails_NHW, np.array(sizes, np.int64).reshape(-1, 2), tuple(modes), colors_NHWC)
