"""Any color mode that Pillow reads becomes RGB with 8 bits per channel.

Shapes: H height, W width, C channels.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from finetune_advisor.errors import UnreadableImage
from finetune_advisor.techniques.preprocessing import ValueRange

Values = npt.NDArray[Any]
Colors = npt.NDArray[np.uint16]

_PAPER = (255, 255, 255, 255)
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
"""Tags of TIFF; Pillow hands the numbers of some files on without looking at them."""

_GRAY_ALPHA = "LA;16B"
_LOWER_BYTE: Mapping[str, str] = {
    **{f"{bands};16L": f"{bands};16B" for bands in ("RGB", "RGBX", "RGBA", "R", "G", "B")},
    **{f"{bands};16B": f"{bands};16L" for bands in ("RGB", "RGBX", "RGBA", "R", "G", "B")},
    **{f"{bands};16N": f"{bands};16{'BL'[sys.byteorder == 'big']}" for bands in ("RGB", "RGBX", "RGBA", "R", "G", "B")},
    _GRAY_ALPHA: "RGBA",  # upper byte of gray, lower byte of gray, the same of alpha
}
"""Pillow's raw modes that unpack the upper byte of every number -> the one that unpacks the lower byte."""


def to_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Convert a loaded image to RGB with 8 bits per channel.

    - Gray is repeated on the three channels. Palettes and CMYK are converted. Color profiles are not applied.
    - What is transparent shows white, the paper most drawings and product photographs are made for.
    - Images with 8 bits per channel or fewer keep their values.
    - Values of more bits (16-bit or 32-bit integers, signed bytes, floats) are mapped linearly, `value_range` to
      0..255, and clipped: one scale for a whole data set, never that of one image, so that images stay comparable.
    - Without a `value_range` their type says what is white: 65535 for integers (4095 where a TIFF says 12 bits), 1.0
      for floats; black is 0.

    Raises:
        UnreadableImage: values are not numbers; or, without a `value_range`, lie outside the range of their type.
    """
    if holds_numbers(image):
        gray_HW = _to_8_bit(numbers(image), value_range or (0.0, _white(image)), clip=value_range is not None)
        return Image.fromarray(gray_HW).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _PAPER), rgba).convert("RGB")
    return image.convert("RGB")


def holds_numbers(image: Image.Image) -> bool:
    """Whether pixels are one number each that 8 bits do not hold: 16-bit or 32-bit integers, signed bytes, floats."""
    return image.mode.startswith(("I", "F")) or (image.mode == "L" and _tag(image, _SAMPLE_FORMAT, 1) == 2)


def numbers(image: Image.Image) -> Values:
    """The numbers of a loaded image that `holds_numbers` (H, W): larger is brighter, whatever the file counts."""
    values_HW: Values = np.asarray(image)
    match image.mode, _tag(image, _SAMPLE_FORMAT, 1), _tag(image, _BITS_PER_SAMPLE, 0):
        case "L", 2, _:
            values_HW = values_HW.view(np.int8)
        case "I", 1, 32:
            values_HW = values_HW.view(np.uint32)
    values_HW = values_HW.astype(values_HW.dtype.newbyteorder("="), copy=False)
    if _tag(image, _PHOTOMETRIC, 1) == 0:  # MINISWHITE, which Pillow inverts in 8-bit images alone
        return np.asarray(values_HW.dtype.type(_white(image)) - values_HW)
    return values_HW


def _tag(image: Image.Image, tag: int, usual: int) -> int:
    """The first value of a TIFF's tag."""
    found = getattr(image, "tag_v2", {}).get(tag, usual)
    return int(found[0] if isinstance(found, tuple) else found)


def _white(image: Image.Image) -> float:
    """The value of white, were the numbers on the usual scale of their type."""
    if image.mode.startswith("F"):
        return 1.0
    return {8: 255.0, 12: 4095.0}.get(_tag(image, _BITS_PER_SAMPLE, 16), 65535.0)


def _to_8_bit(values: Values, value_range: ValueRange, *, clip: bool) -> npt.NDArray[np.uint8]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableImage("some of its pixels are not numbers (NaN or infinite)")
    if not clip:
        _require_within(values, value_range)
    if values.dtype == np.uint16:  # a table is several times faster, and takes no memory
        table: npt.NDArray[np.uint8] = _mapped(np.arange(2**16), value_range)
        return table[values]
    return _mapped(values, value_range)


def _mapped(values: Values, value_range: ValueRange) -> npt.NDArray[np.uint8]:
    black, white = value_range
    levels = (values.astype(np.float64) - black) * (255 / (white - black))
    bytes_: npt.NDArray[np.uint8] = np.rint(levels).clip(0, 255).astype(np.uint8)
    return bytes_


def _require_within(values: Values, value_range: ValueRange) -> None:
    """Half a level beyond black or white is rounded to it; what lies farther off is on another scale."""
    black, white = value_range
    half = (white - black) / 255 / 2
    if values.size and (values.min() < black - half or values.max() > white + half):
        raise UnreadableImage(
            f"its values run from {values.min():g} to {values.max():g}, and nothing says which are black and white: "
            "set preprocessing.value_range, or let `finetune-advisor analyze` measure it"
        )


def holds_two_bytes(image: ImageFile.ImageFile) -> bool:
    """Whether a color image that is not loaded yet has 16 bits per channel, of which Pillow keeps the upper 8.

    CMYK and colors multiplied by alpha are not among them: they keep the upper 8 bits.
    """
    return any(_raw_mode(tile) in _LOWER_BYTE for tile in image.tile)


def two_bytes(image: ImageFile.ImageFile, lower: ImageFile.ImageFile) -> Colors:
    """Load all 16 bits of the colors (H, W, 3) of an image that `holds_two_bytes`.

    Pillow unpacks one byte of each number, and which one follows from the byte order it believes in.

    Args:
        image: not loaded yet; it is left as Pillow loads it.
        lower: the same file opened again, which is left with the lower bytes.

    Raises:
        UnreadableImage: a compressed TIFF in separate planes, whose lower bytes Pillow does not give.
    """
    if _tag(image, _PLANAR, 1) == 2 and any(tile.codec_name == "libtiff" for tile in image.tile):
        raise UnreadableImage("it is a compressed TIFF with 16-bit colors in separate planes; save it as PNG")
    gray = any(_raw_mode(tile) == _GRAY_ALPHA for tile in image.tile)
    lower.tile = [_with_raw_mode(tile, _LOWER_BYTE.get(_raw_mode(tile))) for tile in lower.tile]
    image.load()
    lower.load()
    low_HWC = np.asarray(lower)[..., 1:2] if gray else np.asarray(lower)[..., :3]
    colors_HWC: Colors = np.asarray(image)[..., :3].astype(np.uint16) << 8 | low_HWC
    return colors_HWC


def on_scale(image: Image.Image, colors_HWC: Colors, value_range: ValueRange) -> Image.Image:
    """An image with the colors that `two_bytes` gave mapped to 8 bits; alpha, where it has some, stays as it is."""
    bytes_HWC = np.array(image)
    bytes_HWC[..., :3] = _to_8_bit(colors_HWC, value_range, clip=True)
    return Image.fromarray(bytes_HWC)


def read_planes(image: ImageFile.ImageFile) -> None:
    """Have a TIFF with 16-bit channels in separate planes, uncompressed, read so: Pillow takes them for 8-bit ones."""
    if _tag(image, _PLANAR, 1) == 2 and _tag(image, _BITS_PER_SAMPLE, 8) == 16:
        order = "L" if image.tag_v2.prefix == b"II" else "B"  # type: ignore[attr-defined]
        image.tile = [
            _with_raw_mode(tile, f"{_raw_mode(tile)};16{order}" if len(_raw_mode(tile)) == 1 else None)
            for tile in image.tile
        ]


def _raw_mode(tile: ImageFile._Tile) -> str:
    """How the bytes of a tile become pixels, in Pillow's words."""
    mode = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
    return mode if isinstance(mode, str) else ""


def _with_raw_mode(tile: ImageFile._Tile, mode: str | None) -> ImageFile._Tile:
    """The tile with another raw mode; None leaves it."""
    if mode is None:
        return tile
    return tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
