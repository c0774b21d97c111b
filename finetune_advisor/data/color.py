"""Any color mode that Pillow reads becomes RGB with 8 bits a channel.

Shapes: H height, W width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune_advisor.errors import UnreadableImage

_PAPER = (255, 255, 255, 255)
_FULL_16_BIT = 65535.0


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image to RGB.

    - Gray is repeated on the three channels. Palettes and CMYK are converted. Color profiles are not applied.
    - What is transparent shows white, the paper most drawings and product photographs are made for.
    - 16-bit gray is scaled by its whole range (65535 becomes 255), never by what one image happens to hold,
      so that images stay comparable. So are 32-bit integers within 0..65535, which is how Pillow opens some
      16-bit files.
    - Floats within 0..1 are scaled by 255, within 0..255 taken as they are.
    - Other 32-bit values have no known range: the image's own minimum becomes 0 and its maximum 255.

    Raises:
        UnreadableImage: values are not numbers.
    """
    if image.mode.startswith(("I", "F")):
        return _gray_to_rgb(_to_8_bit(np.asarray(image)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _PAPER), rgba).convert("RGB")
    return image.convert("RGB")


def _gray_to_rgb(gray_HW: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(gray_HW).convert("RGB")


def _to_8_bit(values_HW: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    gray_HW = values_HW.astype(np.float32)
    if not np.isfinite(gray_HW).all():
        raise UnreadableImage("some of its pixels are not numbers (NaN or infinite)")
    low, high = float(gray_HW.min()), float(gray_HW.max())
    black, white = 0.0, _white(high, integers=values_HW.dtype.kind != "f")
    if low < black or high > white:
        black, white = low, max(high, low + 1)
    bytes_HW: npt.NDArray[np.uint8] = np.rint((gray_HW - black) * (255 / (white - black))).astype(np.uint8)
    return bytes_HW


def _white(high: float, *, integers: bool) -> float:
    """The value of white, were the numbers one of the usual scales."""
    if integers:
        return _FULL_16_BIT
    return 1.0 if high <= 1 else 255.0
