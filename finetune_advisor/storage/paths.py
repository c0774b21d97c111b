"""Paths in a file of ours are relative to that file's folder, and in memory to where one stands.

So a project can be moved as a whole, and a recipe means the same images from wherever it is run.
"""

from __future__ import annotations

import os
from pathlib import Path

HUB = "hf:"
"""What `data.path` begins with where it names a data set of the hub."""

NO_FILE = ("bundled", "hub", "random")
"""What `backbone.weights` says where it names no file."""


def is_relative(text: str) -> bool:
    """Whether a path depends on a folder."""
    return not (text.startswith((HUB, "~")) or Path(text).is_absolute())


def path_for_file(text: str, folder: Path) -> str:
    """How a path, seen from where one stands, is written into a file in `folder`.

    Relative where the two are likely to move together: it leads into the folder, or was relative and the folder lies
    where one stands or below. Else absolute.
    """
    if text.startswith((HUB, "~")):
        return text
    home, here, place = folder.resolve(), Path.cwd(), absolute(text)
    together = is_relative(text) and home.is_relative_to(here)
    if together and home == here:
        return text
    if together or place.is_relative_to(home):
        return Path(os.path.relpath(place, home)).as_posix()
    return str(place)


def path_beside(text: str, folder: Path) -> str:
    """The path that a file in `folder` means by `text`, seen from where one stands."""
    if not is_relative(text) or absolute(folder) == Path.cwd():
        return text
    return str(absolute(folder / text))


def weights_for_file(text: str, folder: Path) -> str:
    """`path_for_file` of weights, which need not be a file."""
    return text if text in NO_FILE else path_for_file(text, folder)


def weights_beside(text: str, folder: Path) -> str:
    """`path_beside` of weights, which need not be a file."""
    return text if text in NO_FILE else path_beside(text, folder)


def absolute(path: str | Path) -> Path:
    """A path as it is called from anywhere; links in it are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow them)
