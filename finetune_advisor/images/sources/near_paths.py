"""What a path that leads nowhere probably means: the file is there in another folder, case, suffix or encoding."""

from __future__ import annotations

import os
import re
import unicodedata
from itertools import islice
from pathlib import Path

from finetune_advisor.errors import DataError, did_you_mean
from finetune_advisor.images.sources.scan import entries, image_suffixes, is_folder

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_MOST_ENTRIES = 50_000
"""Names that are looked at in search of one."""
_DEPTH = 3
"""Levels of folders below the root in which a file is looked for."""


def near_path(name: str, root: str) -> str:
    """A sentence about what was probably meant, or nothing.

    Args:
        name: a path that does not exist, relative to `root` or absolute.
        root: absolute path of the folder.
    """
    if _URL.match(name):
        return f"{name} is a URL: download the files first, and name them by their paths."
    budget = [_MOST_ENTRIES]
    found = _spelled(root, Path(name), budget)
    if found is not None:
        return f"There is {found.path}, which differs in {found.difference}."
    place = _elsewhere(root, Path(name), budget)
    return f"There is {place}, in another folder." if place is not None else ""


class _Found:
    """A path that is there, and in what it differs from the one that was looked for."""

    def __init__(self, path: Path, differences: list[str]) -> None:
        self.path = path
        self.difference = " and ".join(dict.fromkeys(differences))


def _spelled(root: str, name: Path, budget: list[int]) -> _Found | None:
    """The path spelled otherwise, part by part."""
    here = Path(name.anchor) if name.is_absolute() else Path(root)
    parts = name.parts[1:] if name.is_absolute() else name.parts
    differences: list[str] = []
    for number, part in enumerate(parts):
        if part == ".." or _is_there(here / part):
            here = here / part
            continue
        last = number == len(parts) - 1
        match = _match(here, part, budget, with_suffix=last)
        if match is None:
            return None
        here, difference = here / match[0], match[1]
        differences.append(difference)
    return _Found(here, differences) if differences else None


def _match(folder: Path, part: str, budget: list[int], *, with_suffix: bool) -> tuple[str, str] | None:
    names = _names(folder, budget)
    for difference, key in (("surrounding blanks", str.strip), ("how accents are encoded", _nfc), ("case", _folded)):
        for name in names:
            if key(name) == key(part):
                return name, difference
    if with_suffix:
        stem, suffix = os.path.splitext(_folded(part))  # noqa: PTH122 (a name, not a path)
        stems = {stem} if suffix in image_suffixes() else {_folded(part)}
        for name in names:
            other, ending = os.path.splitext(_folded(name))  # noqa: PTH122
            if other in stems and ending in image_suffixes():
                return name, "the suffix"
    return None


def _elsewhere(root: str, name: Path, budget: list[int]) -> Path | None:
    """The file without its first folders, or in a folder below the root."""
    parts = name.parts[1:] if name.is_absolute() else name.parts
    for number in range(1, len(parts)):
        place = Path(root, *parts[number:])
        if _is_there(place):
            return place
    level = [Path(root)]
    for _ in range(_DEPTH):
        level = [folder / inner for folder in level for inner in _folders(folder, budget)]
        for folder in level:
            for number in range(len(parts)):
                place = folder.joinpath(*parts[number:])
                if _is_there(place):
                    return place
            same = _match(folder, parts[-1], budget, with_suffix=True)
            if same is not None:
                return folder / same[0]
    return None


def _is_there(place: Path) -> bool:
    return os.path.exists(place)  # noqa: PTH110 (False for names that are too long, where Path.exists raises)


def _names(folder: Path, budget: list[int]) -> list[str]:
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in islice(found, max(budget[0], 0))]
    except OSError:
        return []
    budget[0] -= len(names)
    return sorted(names)


def _folders(folder: Path, budget: list[int]) -> list[str]:
    if budget[0] <= 0:
        return []
    try:
        found = entries(str(folder))
    except DataError:  # a folder that may not be read holds nothing that could be meant
        return []
    budget[0] -= len(found)
    return sorted(entry.name for entry in found if is_folder(entry))


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", _nfc(name).casefold())


def nearest(place: Path, known: list[str]) -> str:
    """An ending for a sentence about a path that does not exist: what is there with nearly that name, or nothing.

    Args:
        place: absolute path.
        known: names beside it that would do.
    """
    near = did_you_mean(place.name, known)
    if near:
        return near
    sentence = near_path(str(place), str(place.parent))
    return f". {sentence.rstrip('.')}." if sentence else ""
