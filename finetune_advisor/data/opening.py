"""Why a file cannot be opened or decoded, in a person's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import IO

from finetune_advisor.errors import UnopenedFile

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
