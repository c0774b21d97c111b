"""A file becomes an image, the same everywhere, training and prediction.

Shapes: C channels (3), H height, W width.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL import __version__ as pillow_version

from finetune_advisor.data.color import to_rgb
from finetune_advisor.data.digest import digest_of
from finetune_advisor.data.opening import cannot_open
from finetune_advisor.errors import UnopenedFile, UnreadableImage

MAX_PIXELS = 89_478_485
"""Largest image that is decoded: Pillow's own limit, about 9,459 x 9,459, which takes 270 MB in memory."""

# EPS and other formats that run programs or fetch files are not among them, whatever a file's suffix says.
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "HEIF")

# What Pillow's decoders raise on damaged files, found by decoding damaged files; Warning is among them
# because warnings are errors where somebody asked for it.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,
)

_TURNS: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_LYING = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
"""Turns that exchange width and height."""

_TELLTALES: Mapping[bytes, str] = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the image itself (run `git lfs pull`)",
    b"<!doctype html": "it is a web page, not an image",
    b"<html": "it is a web page, not an image",
    b"<svg": "it is an SVG drawing, not a pixel image",
    b"%pdf": "it is a PDF document, not an image",
}


_SIDES: Mapping[bytes, tuple[tuple[int, int], tuple[int, int]]] = {
    b"\x89PNG\r\n\x1a\n": ((16, 20), (20, 24)),
    b"GIF8": ((6, 8), (8, 10)),
    b"BM": ((18, 22), (22, 26)),
}
"""First bytes of a file -> where its width and height stand."""


def read_image(path: str | Path, *, at_least: int | None = None) -> Image.Image:
    """Decode a file to an upright RGB image, the first frame where there are several.

    The camera's rotation (EXIF) is applied; color modes are converted by the rules of `to_rgb`. Nothing is
    padded or guessed: a file that is cut short is an error.

    Args:
        at_least: shorter side, in pixels, that is needed. A JPEG with twice as much or more is decoded at
            1/2, 1/4 or 1/8 of its size, which is several times faster. None decodes every pixel.

    Raises:
        UnreadableImage: the file is empty, no image, damaged, or has over `MAX_PIXELS`.
        UnopenedFile: it is missing, forbidden, or the disk fails.
    """
    return read_image_for(path, [at_least]).images[0]


class Decoded(NamedTuple):
    """A file at every scale that was asked for.

    Attributes:
        images: upright RGB images, one for each side asked for.
        size: width and height of the whole image, upright.
        mode: the file's own color mode, as Pillow names it.
    """

    images: list[Image.Image]
    size: tuple[int, int]
    mode: str


def read_image_for(path: str | Path, sides: Sequence[int | None], *, digest: str | None = None) -> Decoded:
    """What `read_image` gives for each shorter side that is needed, decoding what is the same only once.

    Args:
        sides: in pixels; see `read_image`.
        digest: of the content that is expected, None takes any.

    Raises:
        UnreadableImage, UnopenedFile: see `read_image`; the content is not the expected one.
    """
    try:
        with Path(path).open("rb") as file:
            return _decode(file if digest is None else _expected(file, digest), sides)
    except OSError as error:
        raise cannot_open(error) from error


def _expected(file: IO[bytes], digest: str) -> IO[bytes]:
    content = file.read()
    if digest_of(content) != digest:
        raise UnopenedFile("it changed while the images were being read")
    return io.BytesIO(content)


def decoder_key() -> str:
    """Text that changes when contents which could not be decoded may have become decodable."""
    return f"Pillow {pillow_version} {' '.join(_formats())} up to {MAX_PIXELS} pixels"


def to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an RGB image, uint8 (3, H, W)."""
    assert image.mode == "RGB", image.mode
    pixels_HWC = np.asarray(image)
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))


def _decode(file: IO[bytes], sides: Sequence[int | None]) -> Decoded:
    decoded: dict[tuple[int, int], Image.Image] = {}
    images: list[Image.Image] = []
    size, mode = (0, 0), ""
    try:
        for side in sides:
            file.seek(0)
            with Image.open(file, formats=_formats()) as image:
                _check_size(*image.size)
                if not images:
                    size, mode = _upright_size(image), image.mode
                if side is not None:
                    image.draft(None, (side, side))
                scaled = image.size
                if scaled not in decoded:
                    decoded[scaled] = _upright_rgb(image)
            images.append(decoded[scaled])
    except UnidentifiedImageError as error:
        raise UnreadableImage(_what_it_is(file)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(_too_large()) from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableImage(_damage(error)) from error
    return Decoded(images, size, mode)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if _turn(image) in _LYING else (width, height)


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    turn = _turn(image)
    rgb = to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(_too_large(f"{width} x {height} pixels are"))
    if min(width, height) < 1:
        raise UnreadableImage(f"it has no pixels ({width} x {height})")


def _too_large(what: str = "it is") -> str:
    return f"{what} more than the limit of {MAX_PIXELS:,} pixels; scale it down"


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:  # damaged metadata says nothing about the pixels, which are shown as they are stored
        return None


def _what_it_is(file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(256).lower().lstrip()
    if not start:
        return "the file is empty"
    for sign, meaning in _TELLTALES.items():
        if start.startswith(sign):
            return meaning
    if _is_empty(file):
        return "it has no pixels: its width or height is zero"
    return "it is not an image, or of a kind that cannot be read here"


def _is_empty(file: IO[bytes]) -> bool:
    """Whether a header says zero pixels, which Pillow takes for no header at all."""
    file.seek(0)
    start = file.read(32)
    places = next((places for sign, places in _SIDES.items() if start.startswith(sign)), ())
    return any(len(start) >= stop and not any(start[begin:stop]) for begin, stop in places)


def _damage(error: Exception) -> str:
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "it is cut short: the end of the file is missing"
    return f"it is damaged ({error})"
