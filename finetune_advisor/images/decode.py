"""A file becomes an image, the same in training and prediction, or a sentence that says why it cannot.

Why a content cannot be decoded is remembered in a small file, written whole or not at all and always the same, so that
processes can share the folder.

Shapes: C channels (3), H height, W width.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL import __version__ as pillow_version

from finetune_advisor.errors import DataError, StorageError, UnopenedFile, UnreadableImage
from finetune_advisor.images.color import (
    holds_numbers,
    holds_two_bytes,
    numbers,
    on_scale,
    read_planes,
    to_rgb,
    two_bytes,
)
from finetune_advisor.storage.files import atomic_write, cached_files
from finetune_advisor.techniques.preprocessing import ValueRange

log = logging.getLogger(__name__)

PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG begins."""

_TELLTALES: Mapping[bytes, str] = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the image itself (run `git lfs pull`)",
    b"<!doctype html": "it is a web page, not an image",
    b"<html": "it is a web page, not an image",
    b"<svg": "it is an SVG drawing, not a pixel image",
    b"%pdf": "it is a PDF document, not an image",
}


_HEIC = ("HEIC", "HEIF", "`pip install pi-heif`")
_BOXES: Mapping[bytes, tuple[str, str, str]] = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"), _HEIC),
    **dict.fromkeys((b"avif", b"avis"), ("AVIF", "AVIF", "`pip install --upgrade pillow`")),
}
"""The kind of file that its `ftyp` box says -> what to call it, Pillow's name of the format, where to get a reader."""

_TIFF = (b"ii*\0", b"mm\0*", b"ii+\0", b"mm\0+")

_SIDES: Mapping[bytes, tuple[tuple[int, int], tuple[int, int]]] = {
    PNG: ((16, 20), (20, 24)),
    b"GIF8": ((6, 8), (8, 10)),
    b"BM": ((18, 22), (22, 26)),
}
"""First bytes of a file -> where its width and height stand."""


def cannot_open(error: OSError) -> UnopenedFile:
    """Why a file cannot be opened or read, in a person's words."""
    match error:
        case FileNotFoundError():
            return UnopenedFile("the file is gone")
        case PermissionError():
            return UnopenedFile("no permission to read it")
        case IsADirectoryError():
            return UnopenedFile("it is a folder")
        case _:
            return UnopenedFile(f"it cannot be read ({error.strerror or error})")


def what_it_is(file: IO[bytes], formats: Collection[str]) -> str:
    """Why no reader knows a file.

    Args:
        formats: that can be read here, as Pillow names them.
    """
    file.seek(0)
    start = file.read(256).lower().lstrip()
    if not start:
        return "the file is empty"
    for sign, meaning in _TELLTALES.items():
        if start.startswith(sign):
            return meaning
    if start[4:8] == b"ftyp" and start[8:12] in _BOXES:
        name, format_, hint = _BOXES[start[8:12]]
        damaged = format_ in formats
        return f"it is damaged or an unknown kind of {name}" if damaged else f"it is a {name} image, to read it: {hint}"
    if start.startswith(_TIFF):
        return "it is a TIFF of a kind that cannot be read here, or damaged; save it as PNG, or as another kind of TIFF"
    if _is_empty(file):
        return "it has no pixels: its width or height is zero"
    return "it is not an image, or of a kind that cannot be read here"


def _is_empty(file: IO[bytes]) -> bool:
    """Whether a header says zero pixels, which Pillow takes for no header at all."""
    file.seek(0)
    start = file.read(32)
    places = next((places for sign, places in _SIDES.items() if start.startswith(sign)), ())
    return any(len(start) >= stop and not any(start[begin:stop]) for begin, stop in places)


def damage(error: Exception) -> str:
    """What is wrong with a file whose reader raised this."""
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "it is cut short: the end of the file is missing"
    return f"it is damaged ({error})"


_THREADS = 8
"""Reading waits for the disk and hashing releases Python's lock, so more threads than cores are of use."""

_KEY = 8
"""Bytes of an image's name, and as many of its content, in the fingerprint of a data set."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How many images of a data set are new, gone, or not what they were."""

    added: int
    removed: int
    changed: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.removed:,} removed, {self.changed:,} changed"


def fingerprint(images: Iterable[tuple[str, str, str | None]]) -> str:
    """What tells later how many images of a data set were added, removed or changed: 22 characters for each.

    Args:
        images: name, class name and content digest of each; None for a file that could not be read.
    """
    rows = sorted(_short(name) + _short(f"{label}\0{content}") for name, label, content in images)
    return b64encode(b"".join(rows)).decode("ascii")


def changes(before: str, after: str) -> Changes:
    """Compare two fingerprints of one data set.

    Raises:
        ValueError: one of them is none.
    """
    old, new = _entries(before), _entries(after)
    both = old.keys() & new.keys()
    return Changes(len(new) - len(both), len(old) - len(both), sum(old[name] != new[name] for name in both))


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=_KEY).digest()


def _entries(text: str) -> dict[bytes, bytes]:
    content = b64decode(text, validate=True)
    if len(content) % (2 * _KEY):
        raise ValueError(f"{len(content)} bytes are no fingerprint")
    return {content[at : at + _KEY]: content[at + _KEY : at + 2 * _KEY] for at in range(0, len(content), 2 * _KEY)}


def digest(path: str | Path) -> str:
    """BLAKE2b of a file's content, 16 bytes as 32 hexadecimal digits.

    Raises:
        UnopenedFile: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, _hash).hexdigest()
    except OSError as error:
        raise cannot_open(error) from error


def digest_of(content: bytes) -> str:
    """The digest of a file with this content."""
    hashed = _hash()
    hashed.update(content)
    return hashed.hexdigest()


def _hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def digests(paths: Iterable[str | Path]) -> tuple[tuple[str | None, ...], dict[int, str]]:
    """The digest of every file, in order, None for one that cannot be read; and why, by its place."""
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_digest_or_reason, paths))
    reasons = {place: made.message for place, made in enumerate(found) if isinstance(made, UnopenedFile)}
    return tuple(made if isinstance(made, str) else None for made in found), reasons


def _digest_or_reason(path: str | Path) -> str | UnopenedFile:
    try:
        return digest(path)
    except UnopenedFile as reason:
        return reason


MAX_PIXELS = 89_478_485
"""Largest image that is decoded: Pillow's own limit, about 9,459 x 9,459, which takes 270 MB in memory."""

_LIMIT = "FINETUNE_ADVISOR_MAX_PIXELS"
"""The environment variable that replaces it."""

_FORMAT = 2
"""Raised when other files than before are refused."""

T = TypeVar("T")

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

_NARROW = (b"\xff\xd8", b"GIF8", b"RIFF", b"BM")
"""How files begin whose formats have 8 bits per channel, or are read so."""

_WITH_ORIENTATION = (b"XML:com.adobe.xmp", b"Raw profile type exif")
_LONG_TEXT = 2**20
"""Bytes of a text in a PNG from which it is passed over, packed or not: Pillow refuses it then."""


def read_image(path: str | Path, *, at_least: int | None = None, value_range: ValueRange | None = None) -> Image.Image:
    """Decode a file to an upright RGB image, the first frame where there are several.

    The camera's rotation (EXIF) is applied; color modes are converted by the rules of `to_rgb`. Nothing is
    padded or guessed: a file that is cut short or whose pixels are damaged is an error.

    Args:
        at_least: shorter side, in pixels, that is needed. A JPEG with twice as much or more is decoded at
            1/2, 1/4 or 1/8 of its size, which is several times faster. None decodes every pixel.
        value_range: which values of images with more than 8 bits per channel become 0 and 255; see `to_rgb`.

    Raises:
        UnreadableImage: the file is empty, no image, damaged, or has too many pixels (see `max_pixels`).
        UnopenedFile: it is missing, forbidden, or the disk fails.
    """
    return read_image_for(path, [at_least], value_range=value_range).images[0]


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


def read_image_for(
    path: str | Path,
    sides: Sequence[int | None],
    *,
    value_range: ValueRange | None = None,
    digest: str | None = None,
) -> Decoded:
    """What `read_image` gives for each shorter side that is needed, decoding what is the same only once.

    Args:
        sides: in pixels; see `read_image`.
        value_range: see `read_image`.
        digest: of the content that is expected, None takes any.

    Raises:
        UnreadableImage, UnopenedFile: see `read_image`; the content is not the expected one.
    """
    try:
        with Path(path).open("rb") as file:
            content = file if digest is None else _expected(file, digest)
            return _read(content, partial(_decode, sides=sides, value_range=value_range))
    except OSError as error:
        raise cannot_open(error) from error


def _expected(file: IO[bytes], digest: str) -> IO[bytes]:
    content = file.read()
    if digest_of(content) != digest:
        raise UnopenedFile("it changed while the images were being read")
    return io.BytesIO(content)


def decoder_key() -> str:
    """Text that changes when contents which could not be decoded may have become decodable."""
    return f"{_FORMAT}: Pillow {pillow_version} {' '.join(_formats())} up to {max_pixels()} pixels"


def to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an RGB image, uint8 (3, H, W)."""
    assert image.mode == "RGB", image.mode
    pixels_HWC = np.asarray(image)
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))


def has_wide_values(path: str | Path) -> bool | None:
    """Whether an image has more than 8 bits per channel, as its first bytes say; None where they cannot be read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(32)
            if start.startswith(PNG):
                return start[24:25] == b"\x10"
            if start.startswith(_NARROW):
                return False
            with _opened(file) as image:
                return holds_two_bytes(image) or holds_numbers(image)
    except _DAMAGE:  # which is named when the image is decoded
        return None


def wide_values(path: str | Path) -> npt.NDArray[Any] | None:
    """The values of an image with more than 8 bits per channel, (H, W) or (H, W, 3); None for any other image.

    Raises:
        UnreadableImage, UnopenedFile: see `read_image`.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, _values)
    except OSError as error:
        raise cannot_open(error) from error


def _values(file: IO[bytes]) -> npt.NDArray[Any] | None:
    with _opened(file) as image:
        if holds_two_bytes(image):
            _check_size(image)
            with _opened(file) as lower:
                return two_bytes(image, lower)
        if not holds_numbers(image):
            return None
        _check_size(image)
        image.load()
        return numbers(image)


def _decode(file: IO[bytes], sides: Sequence[int | None], value_range: ValueRange | None) -> Decoded:
    decoded: dict[tuple[int, int], Image.Image] = {}
    images: list[Image.Image] = []
    size, mode = (0, 0), ""
    for side in sides:
        with _opened(file) as image:
            whole, mode = image.size, image.mode
            if side is not None:
                image.draft(None, (side, side))
            scaled = image.size
            _check_size(image, whole)
            if scaled not in decoded:
                decoded[scaled] = _upright_rgb(image, file, value_range)
        images.append(decoded[scaled])
        size = whole if images[-1].size == scaled else (whole[1], whole[0])
    return Decoded(images, size, mode)


def _read(file: IO[bytes], read: Callable[[IO[bytes]], T]) -> T:
    """What `read` makes of the file; what Pillow raises becomes what is wrong with the file.

    Raises:
        UnreadableImage: it is damaged, no image, or too large.
    """
    try:
        try:
            return read(file)
        except ValueError:  # Pillow refuses a PNG whose text or color profile has over 1 MB
            plain = _without_text(file)
            if plain is None:
                raise
            return read(plain)
    except UnidentifiedImageError as error:
        raise UnreadableImage(what_it_is(file, _formats())) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(_too_large("it is", max_pixels())) from error
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableImage(damage(error)) from error


def _without_text(file: IO[bytes]) -> IO[bytes] | None:
    """A PNG without its texts and color profile, but for what may hold the orientation; None where nothing is left out.

    Neither changes the pixels that we read.
    """
    file.seek(0)
    content = file.read()
    if not content.startswith(PNG):
        return None
    kept, place = [PNG], len(PNG)
    while place + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 12 + length
        kind, keyword = content[place + 4 : place + 8], content[place + 8 : end].partition(b"\0")[0]
        is_text = kind in (b"tEXt", b"zTXt", b"iTXt") and (keyword not in _WITH_ORIENTATION or length > _LONG_TEXT)
        if not is_text and kind != b"iCCP":
            kept.append(content[place:end])
        place = end
    plain = b"".join(kept)
    return io.BytesIO(plain) if len(plain) < len(content) else None


def _upright_rgb(image: ImageFile.ImageFile, file: IO[bytes], value_range: ValueRange | None) -> Image.Image:
    colors_HWC = None
    if value_range is not None and holds_two_bytes(image):
        with _opened(file) as lower:
            colors_HWC = two_bytes(image, lower)
    # Before the orientation is asked for, which loads a PNG too and passes over what it finds damaged.
    image.load()
    turn = _turn(image)
    pixels = image if colors_HWC is None or value_range is None else on_scale(image, colors_HWC, value_range)
    rgb = to_rgb(pixels, value_range)
    return rgb if turn is None else rgb.transpose(turn)


def _opened(file: IO[bytes]) -> ImageFile.ImageFile:
    """`Image.open` without its limit of pixels, which does not know that a JPEG can be decoded small.

    Raises:
        UnidentifiedImageError: no format knows the file.
    """
    file.seek(0)
    start = file.read(16)
    for name in _formats():
        make, accepts = Image.OPEN[name]
        try:
            # A format that is not supported here accepts with a sentence that says so.
            if accepts is not None and accepts(start) is not True:
                continue
            file.seek(0)
            image = make(file, "")
            read_planes(image)
            return image
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError("no format knows it")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    with suppress(ModuleNotFoundError):  # the extra `heif`
        pi_heif: Any = import_module("pi_heif")
        pi_heif.register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def max_pixels() -> int:
    """Most pixels that are held in memory of one image; the environment variable `FINETUNE_ADVISOR_MAX_PIXELS` sets it.

    A JPEG that is decoded small counts as small, but may not have more than 4 times as many itself, a progressive one
    not more than twice as many: its coefficients lie in memory whole.

    Raises:
        DataError: the variable is not a number of pixels.
    """
    text = os.environ.get(_LIMIT, "")
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or int(text) < 1:
        raise DataError(f"The environment variable {_LIMIT} is {text!r}.", "Expected a number of pixels: 200000000.")
    limit = int(text)
    if Image.MAX_IMAGE_PIXELS is not None and limit > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limit
    return limit


def _check_size(image: ImageFile.ImageFile, whole: tuple[int, int] | None = None) -> None:
    """Refuse an image without pixels or with too many, before it is loaded.

    Args:
        whole: its size before it was told to load itself smaller.
    """
    width, height = whole or image.size
    if min(width, height) < 1:
        raise UnreadableImage(f"it has no pixels ({width} x {height})")
    most = max_pixels()
    times = 1 if image.format not in ("JPEG", "MPO") else 2 if "progressive" in image.info else 4
    if math.prod(image.size) > most or width * height > times * most:
        raise UnreadableImage(_too_large(f"{width} x {height} pixels are", most))


def _too_large(what: str, most: int) -> str:
    return f"{what} more than the limit of {most:,} pixels; scale it down, or set {_LIMIT} higher"


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:  # damaged metadata says nothing about the pixels, which are shown as they are stored
        return None


@dataclass(frozen=True)
class ReasonStore:
    """The reasons in one folder. With `folder` None nothing is read from or written to disk."""

    folder: Path | None

    def load(self, digests: Iterable[str]) -> dict[str, str]:
        """The reasons that are known, by digest."""
        if self.folder is None:
            return {}
        known = {path.name for path in cached_files(self.folder)}
        return {digest: _remembered(self.folder / digest) for digest in set(digests) & known}

    def save(self, reasons: Mapping[str, str]) -> None:
        """Remember reasons; where the disk takes nothing that costs a warning."""
        if self.folder is None:
            return
        try:
            for digest, reason in reasons.items():
                atomic_write(self.folder / digest, reason.encode(errors="surrogateescape"))
        except StorageError as problem:
            log.warning("the next command tries to decode bad files again: %s", problem.message)


def _remembered(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")
