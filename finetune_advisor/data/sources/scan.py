"""Walks folders for images: which files count, in which order, and what is passed over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune_advisor.errors import DataError

_IMAGES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
# Images also where no reader is installed: they are then named with what to install, instead of passed over.
_MODERN = frozenset({".avif", ".heic", ".heif"})
_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})

_NUMBER = re.compile("[0-9]+")

_Identity = tuple[int, int]


def image_suffixes() -> frozenset[str]:
    """Suffixes of images, in lower case with the dot."""
    return _IMAGES | _MODERN


def natural(name: str) -> str:
    """Sort key that puts img2 before img10, the same on every machine and in every locale.

    One string, so that a million keys stay small: every number is led by NUL, which no file name holds and which
    sorts before everything else, and by how many digits it has. The name itself settles ties such as 01 and 1.
    """
    return f"{_NUMBER.sub(_sortable, name)}\0\0{name}"


def _sortable(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0") or "0"
    return f"\0{chr(len(digits))}{digits}"


def entries(folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds, less hidden names and the clutter that operating systems leave behind.

    Raises:
        DataError: the folder cannot be read.
    """
    with _naming(folder), os.scandir(folder) as found:
        return [entry for entry in found if not _is_clutter(entry.name)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder or a link to one; a link that leads nowhere is not."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or through a folder that may not be entered
        return False


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether the name is an image's; a dangling link counts, so that it is reported instead of forgotten."""
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (a Path per entry would take most of the time)
    return suffix in image_suffixes() and (entry.is_symlink() or entry.is_file())


def walk(folder: str) -> tuple[list[str], list[str]]:
    """Paths of all images at any depth below a folder, and of all other files; neither is sorted.

    Links to folders are followed, except one that leads back to a folder it lies in.

    Raises:
        DataError: a folder cannot be read.
    """
    images: list[str] = []
    others: list[str] = []
    for entry in _files(folder, frozenset()):
        (images if is_image(entry) else others).append(entry.path)
    return images, others


def images_below(folder: Path) -> list[Path]:
    """The images at any depth below a folder, in natural order: what `predict` takes a folder to mean.

    Raises:
        DataError: a folder cannot be read.
    """
    images, _ = walk(str(folder))
    return [Path(path) for path in sorted(images, key=natural)]


def _files(folder: str, above: frozenset[_Identity]) -> Iterator[os.DirEntry[str]]:
    with _naming(folder):
        status = os.stat(folder)  # noqa: PTH116 (a Path per entry would take most of the time)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for entry in entries(folder):
        if is_folder(entry):
            yield from _files(entry.path, above | {identity})
        else:
            yield entry


@contextmanager
def _naming(folder: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise DataError(f"No permission to read the folder {folder}.", f"Try: chmod -R u+rX '{folder}'") from error
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be read: {error.strerror}.") from error


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER
