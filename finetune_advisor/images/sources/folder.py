"""A folder of class folders, flat or under folders for the splits: train/, val/ and test/, seg_train/ and the like.

A class may be called `train` or `test tube`, so a name alone decides nothing unless it is exactly a split's: folders
with other names count as splits only when they differ in nothing but the split, and hold the same classes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources.listing import SPLIT_WORDS, USUAL, Listing, Reading, Sample, Split
from finetune_advisor.images.sources.scan import Folder, Tree, natural, read_tree
from finetune_advisor.images.sources.table import TABLE_SUFFIXES
from finetune_advisor.text import counted, listed

_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+")
"""Words of a name: `seg_train`, `trainSet`, `Test-Images01`."""
_FILLERS = (
    "images",
    "image",
    "imgs",
    "img",
    "dataset",
    "data",
    "set",
    "split",
    "pictures",
    "photos",
    "pics",
    "samples",
)
"""Words beside a split's that say nothing."""
_UNLABELED = frozenset(
    {"pred", "preds", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "inference", "submission"}
)
_HINT = "Expected either class folders or train/, val/ and test/, not both: move the others elsewhere."


@dataclass(slots=True)
class SplitFolders:
    """The folder of each split, whose folders are the classes; and what lies beside them.

    Attributes:
        folders: nothing where the folders are no splits.
        beside: files that belong to no class.
        notes: about folders that are passed over.
    """

    folders: dict[Split, Folder] = field(default_factory=dict)
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_splits(top: Folder) -> SplitFolders:
    """The splits among the folders in `top`.

    Raises:
        DataError: some folders are splits and others are not, or two are the same split.
    """
    exact = [folder for folder in top.folders if folder.name.lower() in SPLIT_WORDS]
    if len(exact) < len(top.folders):
        exact = [folder for folder in exact if folder.folders]
    named = {folder.name: SPLIT_WORDS[folder.name.lower()] for folder in exact}
    kin = _alike(top, named)
    named |= kin
    found = SplitFolders()
    if not named:
        return found
    for folder in top.folders:
        if folder.name in named:
            split = named[folder.name]
            if split in found.folders:
                raise DataError(
                    f"{top.path} holds both {_top_name(found.folders[split], top)}/ and {folder.name}/; both are the "
                    f"{split} split.",
                    "Expected one folder per split: merge them or move one elsewhere.",
                )
            found.folders[split] = _unwrapped(folder, split, found.beside)
    _pass_over(top, [folder for folder in top.folders if folder.name not in named], named, found)
    return found


def split_of(name: str) -> tuple[Split, tuple[str, ...]] | None:
    """What split a name speaks of, and its other words less those that say nothing; None for none, or for two."""
    words: list[str] = []
    for word in _PARTS.findall(name):
        words += _unglued(word.lower())
    splits = [word for word in words if word in SPLIT_WORDS]
    if len(splits) != 1:
        return None
    rest = tuple(word for word in words if word not in SPLIT_WORDS and word not in _FILLERS)
    return SPLIT_WORDS[splits[0]], rest


def _unglued(word: str) -> list[str]:
    """`trainset` as two words."""
    for filler in _FILLERS:
        if word.endswith(filler) and word.removesuffix(filler) in SPLIT_WORDS:
            return [word.removesuffix(filler), filler]
    return [word]


def _alike(top: Folder, named: dict[str, Split]) -> dict[str, Split]:
    """Folders that are splits by names like `Training` and by their classes, which those in training have too.

    Raises:
        DataError: they are called like splits and hold other classes.
    """
    likely: dict[str, tuple[Split, tuple[str, ...]]] = {}
    for folder in top.folders:
        words = split_of(folder.name)
        if words is not None and folder.name not in named and folder.has_images and _classes(folder, words[0]):
            likely[folder.name] = words
    folders = {folder.name: folder for folder in top.folders}
    exact = {name: (split, ()) for name, split in named.items()}
    training = [(name, rest) for name, (split, rest) in (*exact.items(), *likely.items()) if split == "train"]
    if not training:
        return {}
    first, rest = training[0]
    known = _classes(folders[first], "train")
    kin = {name: split for name, (split, other) in likely.items() if other == rest}
    if len(known) < 2 or (not named and len(kin) < 2 and len(top.folders) > len(kin) + len(_idle(top))):
        return {}
    for name, split in kin.items():
        inside = _classes(folders[name], split)
        if not inside & known:
            raise DataError(
                f"{top.path} holds {first}/ and {name}/, which are called like splits, but hold other folders: "
                f"{listed(sorted(known))}; {listed(sorted(inside))}.",
                "Splits hold the same class folders: rename those in one of them. If the two are classes, say so with "
                "--class-folders outer (recipe: data.class_folders: outer).",
            )
    return kin


def _idle(top: Folder) -> list[Folder]:
    """Folders that are no classes whatever the others are."""
    return [folder for folder in top.folders if not folder.has_images or _is_unlabeled(folder)]


def _classes(folder: Folder, split: Split) -> set[str]:
    """Names of the folders of images in what may be a split, in lower case."""
    return {inner.name.casefold() for inner in _unwrapped(folder, split, []).folders if inner.has_images}


def _unwrapped(folder: Folder, split: Split, beside: list[str]) -> Folder:
    """`seg_train/seg_train` for `seg_train` where there is nothing else in it."""
    while not folder.images and len(folder.folders) == 1:
        [inner] = folder.folders
        words = split_of(inner.name)
        same = (words is not None and words[0] == split) or inner.name.lower() in _FILLERS
        if not same or not inner.folders:
            break
        beside += folder.others
        folder = inner
    return folder


def _is_unlabeled(folder: Folder) -> bool:
    return any(word.lower() in _UNLABELED for word in _PARTS.findall(folder.name))


def _pass_over(top: Folder, rest: Sequence[Folder], named: dict[str, Split], found: SplitFolders) -> None:
    """What lies beside splits: folders without images, and images that are said to have no labels.

    Raises:
        DataError: there are others.
    """
    unknown = [folder.name for folder in rest if folder.has_images and not _is_unlabeled(folder)]
    if unknown:
        raise DataError(
            f"{top.path} holds {listed(f'{name}/' for name in named)} with class folders inside, and beside it "
            f"{listed(f'{name}/' for name in unknown)}.",
            _HINT,
        )
    for folder in rest:
        found.beside += folder.every_other()
        if images := sum(1 for _ in folder.every_image()):
            found.notes.append(
                f"{folder.name}/ beside the splits holds {counted(images, 'image')} without labels, not used here; "
                "`predict` labels them."
            )


def _top_name(folder: Folder, top: Folder) -> str:
    return Path(folder.path).relative_to(top.path).parts[0]


_LAYOUT = "Expected one folder of images per class, or train/ with one folder per class in it."
_OUR_NAMES = frozenset({"analysis", "runs", "race"})
"""What this package calls the folders that it makes; without an image in them they are no classes."""
_IN_COMMON = 2
"""Folders of the same name in two class folders from which those are hardly classes; a single one (`images`) is how
some data sets are laid out."""


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    """The files of one class in one part: paths of the images and of everything else."""

    name: str
    split: Split | None
    images: Sequence[str]
    others: Sequence[str]


def list_folder(root: Path, reading: Reading = USUAL) -> Listing:
    """List the images below `root`, an absolute path, without opening any.

    - The folders in `root` are the classes; or `root` holds train/ and optionally val/ and test/, in any case, with
      the class folders inside, also under usual names such as Training/ or seg_train/ (`find_splits`). A folder
      called exactly like a split is one when it has folders in it, or when all its neighbors have such names too;
      otherwise it is a class that happens to be called so.
    - A folder that stands alone is entered where it holds the splits or the classes.
    - Whatever lies below a class folder, at any depth, belongs to the class. Links and what this package wrote: see
      `read_tree`.
    - Classes and samples are sorted naturally (img2 before img10), by code point and never by locale.
    - Class names are kept as they are on the disk. A class folder may be empty, and there may be a single one or
      no train/: what training asks for is checked by `require_trainable`.
    - Hidden files and system clutter are passed over; other files that are no images, and images outside of
      class folders, are named in `ignored`.

    Raises:
        DataError: the folder cannot be read, its layout is another, or it could mean two things.
    """
    tree = read_tree(root)
    outer = reading.class_folders == "outer"
    notes: list[str] = []
    strays: list[str] = []
    top = tree.top if outer else _entered(tree.top, notes, strays)
    parts = SplitFolders() if outer and not _exact(top) else find_splits(top)
    strays += [*parts.beside, *(path for path in top.others if not _is_our_recipe(path)), *top.images]
    found: list[_ClassFolder] = []
    for split, folder in parts.folders.items() or [(None, top)]:
        if split is not None:
            strays += [*folder.others, *folder.images]
        found += _class_folders(folder, split, reading, strays)
    return _listing(root, found, strays, (*notes, *parts.notes, *_links(tree)))


def _is_our_recipe(path: str) -> bool:
    """Whether a file beside the class folders is what `analyze` wrote there."""
    if Path(path).suffix.lower() not in {".yaml", ".yml"}:
        return False
    try:
        with Path(path).open("rb") as file:
            return b"finetune-advisor" in file.read(500)
    except OSError:
        return False


def _exact(top: Folder) -> bool:
    return any(folder.name.lower() in SPLIT_WORDS for folder in top.folders)


def _entered(top: Folder, notes: list[str], strays: list[str]) -> Folder:
    """The folder that holds the classes or the splits: below those that stand alone."""
    while not top.images:
        inside = [folder for folder in top.folders if folder.has_images]
        if len(inside) != 1 or inside[0].name.lower() in SPLIT_WORDS or not _is_container(inside[0]):
            break
        [inner] = inside
        if len(top.folders) > 1 and not find_splits(inner).folders:
            break
        if not find_splits(inner).folders:
            names = listed(folder.name for folder in inner.folders)
            notes.append(f"The only folder is {inner.name}/; the folders in it are the classes: {names}.")
        strays += [*top.others, *(path for other in top.folders if other is not inner for path in other.every_other())]
        top = inner
    return top


def _is_container(folder: Folder) -> bool:
    """Whether a folder holds classes or splits rather than being a class."""
    inside = [inner for inner in folder.folders if inner.has_images]
    if folder.images or not inside:
        return False
    return len(inside) > 1 or bool(find_splits(folder).folders) or _is_container(inside[0])


def _class_folders(folder: Folder, split: Split | None, reading: Reading, strays: list[str]) -> list[_ClassFolder]:
    inner = [each for each in folder.folders if each.has_images or each.name not in _OUR_NAMES]
    if not inner:
        raise _no_class_folders(folder)
    if reading.class_folders is None:
        _require_one_level(folder, inner)
    if reading.class_folders == "inner":
        for each in inner:
            strays += [*each.images, *each.others]
        inner = [below for each in inner for below in each.folders]
        if not inner:
            raise DataError(
                f"{folder.path} has no folders inside its folders, which --class-folders inner asks for.",
                f"If its folders are the classes, say so with --class-folders outer. {_LAYOUT}",
            )
    return [_ClassFolder(each.name, split, list(each.every_image()), list(each.every_other())) for each in inner]


def _require_one_level(folder: Folder, classes: Sequence[Folder]) -> None:
    """Folders that hold folders of the same names are splits or sources, hardly classes."""
    inside = [(each, {below.name.casefold() for below in each.folders if below.has_images}) for each in classes]
    inside = [(each, names) for each, names in inside if len(names) >= _IN_COMMON]
    for place, (each, names) in enumerate(inside):
        for other, others in inside[:place]:
            common = sorted(names & others, key=natural)
            if len(common) < _IN_COMMON:
                continue
            raise DataError(
                f"{folder.path}: {other.name}/ and {each.name}/ hold folders of the same names ({listed(common)}), so "
                "it is not clear which folders are the classes.",
                f"If {other.name}/ and {each.name}/ are splits, rename them to train/ and test/ (or val/). If "
                f"{listed(common)} are the classes, say so with --class-folders inner (recipe: data.class_folders: "
                f"inner); if {other.name} and {each.name} are, with --class-folders outer.",
            )


def _no_class_folders(folder: Folder) -> DataError:
    if folder.images:
        example = Path(folder.images[0]).name
        tables = [path for path in folder.others if Path(path).suffix.lower() in TABLE_SUFFIXES]
        named = f" If {Path(tables[0]).name} says it, name that file." if tables else ""
        return DataError(
            f"{folder.path} holds {counted(len(folder.images), 'image')} (such as {example}) but no class folders, "
            "so nothing says what they show.",
            f"{_LAYOUT}{named} Images without labels are for `finetune-advisor predict`.",
        )
    if folder.others:
        files = f"only {counted(len(folder.others), 'other file')} such as {Path(folder.others[0]).name}"
        return DataError(f"{folder.path} holds no images and no class folders, {files}.", _LAYOUT)
    return DataError(f"{folder.path} is empty.", _LAYOUT)


def _links(tree: Tree) -> list[str]:
    if not tree.inner_links:
        return []
    names = listed(_relative(path, tree.top.path) for path in tree.inner_links)
    return [f"{counted(len(tree.inner_links), 'link')} back into the data not followed: {names}."]


def _listing(root: Path, found: Sequence[_ClassFolder], strays: Sequence[str], notes: Sequence[str]) -> Listing:
    # An empty folder in val/ or test/ says only that none is there.
    names = {folder.name for folder in found if folder.images or folder.split in (None, "train")}
    classes = tuple(sorted(names, key=natural))
    label_of = {name: label for label, name in enumerate(classes)}
    base = str(root)
    samples = [
        Sample(base, _relative(path, base), label_of[folder.name], folder.split)
        for folder in found
        for path in folder.images
    ]
    others = [path for folder in found for path in folder.others]
    samples.sort(key=lambda sample: natural(sample.name))
    return Listing(
        root=root,
        source=base,
        classes=classes,
        samples=tuple(samples),
        ignored=tuple(sorted((_relative(path, base) for path in [*strays, *others]), key=natural)),
        notes=tuple(notes),
    )


def _relative(path: str, base: str) -> str:
    relative = path[len(base) :].lstrip(os.sep)
    return relative if os.sep == "/" else relative.replace(os.sep, "/")
