"""Walks folders for images: which files count, in which order, and what is passed over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from finetune_advisor.errors import DataError

_IMAGES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
# Images also where no reader is installed: they are then named with what to install, instead of passed over.
_MODERN = frozenset({".avif", ".heic", ".heif"})
_CLUTTER = frozenset(
    {
        "__macosx",  # macOS, in zip files
        "icon\r",
        "thumbs.db",  # Windows
        "ehthumbs.db",
        "desktop.ini",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",  # file systems of Linux
        "@eadir",  # Synology
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "@__thumb",
        "__pycache__",
    }
)
"""What systems and network drives put beside a person's files, in lower case; hidden names (.git, .DS_Store,
.ipynb_checkpoints, .thumbnails, ._*) are passed over without being listed here."""

_OUTPUTS: Sequence[tuple[str, frozenset[str]]] = (
    ("profile.json", frozenset({"report.html", "clean.csv", "review.csv"})),  # analyze
    ("recipe.yaml", frozenset({"metrics.json", "history.jsonl", "splits.csv", "environment.json", "run.log"})),  # run
    ("plan.json", frozenset({"ensemble.json", "members"})),  # ensemble
    ("config.json", frozenset({"model.safetensors", "model.onnx"})),  # export
    ("digits", frozenset({"recipe.yaml"})),  # demo
)
"""A file, and those of which one at least lies beside it in a folder that this package wrote."""

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


def images_below(folder: Path) -> list[Path]:
    """The images at any depth below a folder, in natural order: what `predict` takes a folder to mean.

    Raises:
        DataError: a folder cannot be read.
    """
    return [Path(path) for path in sorted(read_tree(folder).top.every_image(), key=natural)]


@dataclass(slots=True)
class Folder:
    """A folder with everything below it.

    Attributes:
        name: the last part of its path.
        path: where it is.
        folders: the folders directly in it, in natural order of their names.
        images, others: paths of the images directly in it, and of the other files; not sorted.
    """

    name: str
    path: str
    folders: list[Folder] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def every_image(self) -> Iterator[str]:
        """Paths of the images at any depth."""
        yield from self.images
        for folder in self.folders:
            yield from folder.every_image()

    def every_other(self) -> Iterator[str]:
        """Paths of the other files at any depth."""
        yield from self.others
        for folder in self.folders:
            yield from folder.every_other()

    @property
    def has_images(self) -> bool:
        """Whether there are images at any depth."""
        return next(self.every_image(), None) is not None


@dataclass(slots=True)
class Tree:
    """A data folder, read whole.

    Attributes:
        top: the folder that was named.
        inner_links: paths of links to folders that lead back into the data; they are not followed.
        outputs: paths of folders that this package wrote; they are not entered.
    """

    top: Folder
    inner_links: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def read_tree(root: Path) -> Tree:
    """Read the names of everything below a folder; no file is opened.

    Links to folders elsewhere are followed. A link to a folder whose content is read at its own place, or to one that
    the link lies in, is not: every image would count twice. Folders that `analyze`, `run`, `ensemble`, `export` and
    `demo` wrote are no data, whatever they are called: they are known by what is in them.

    Raises:
        DataError: a folder cannot be read.
    """
    base = os.path.realpath(root)
    tree = Tree(Folder(root.name, str(root)))
    _read(tree.top, tree, base, frozenset())
    return tree


def _read(folder: Folder, tree: Tree, base: str, above: frozenset[_Identity]) -> bool:
    """Fill a folder; False where it is not to be read: a loop of links, or what this package wrote."""
    with _naming(folder.path):
        status = os.stat(folder.path)  # noqa: PTH116 (a Path per entry would take most of the time)
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return False
    inner: list[os.DirEntry[str]] = []
    for entry in entries(folder.path):
        if is_folder(entry):
            inner.append(entry)
        else:
            (folder.images if is_image(entry) else folder.others).append(entry.path)
    if folder is not tree.top and not folder.images and _is_output(folder, inner):
        tree.outputs.append(folder.path)
        return False
    outputs = len(tree.outputs)
    for entry in sorted(inner, key=lambda entry: natural(entry.name)):
        if entry.is_symlink() and _leads_back(entry.path, base):
            tree.inner_links.append(entry.path)
            continue
        child = Folder(entry.name, entry.path)
        if _read(child, tree, base, above | {identity}):
            folder.folders.append(child)
    # runs/ holds nothing but runs; without them it may be a class folder that is still empty.
    only_outputs = len(tree.outputs) > outputs and not folder.folders and not folder.images
    return folder is tree.top or not only_outputs


def _leads_back(link: str, base: str) -> bool:
    """Whether a link to a folder leads to one that is read without it, or to one that it lies in."""
    target = os.path.realpath(link)
    if target == base or base.startswith(target.rstrip(os.sep) + os.sep):
        return True
    inside = target.startswith(base.rstrip(os.sep) + os.sep)
    return inside and not any(map(_is_clutter, Path(target).relative_to(base).parts))


def _is_output(folder: Folder, inner: Sequence[os.DirEntry[str]]) -> bool:
    """Whether this package wrote the folder, by the files that only it writes together."""
    names = {os.path.basename(path) for path in folder.others} | {entry.name for entry in inner}  # noqa: PTH119
    return any(first in names and not names.isdisjoint(others) for first, others in _OUTPUTS)


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
