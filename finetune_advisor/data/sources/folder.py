"""A folder of class folders, flat or under train/, val/ and test/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.data.sources.listing import SPLIT_WORDS, Listing, Sample, Split
from finetune_advisor.data.sources.scan import entries, image_suffixes, is_folder, natural, walk
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import DataError

_LAYOUT = "Expected one folder of images per class, or train/ with one folder per class in it."


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    """The files of one class in one part: paths of the images and of everything else."""

    name: str
    split: Split | None
    images: Sequence[str]
    others: Sequence[str]


def list_folder(root: Path) -> Listing:
    """List the images below `root`, an absolute path, without opening any.

    - The folders in `root` are the classes; or `root` holds train/ and optionally val/ (also valid/ or
      validation/) and test/, in any case, with the class folders inside. A folder with such a name is a split
      when it has folders in it, or when all its neighbors have such names too; otherwise it is a class that
      happens to be called so.
    - Whatever lies below a class folder, at any depth, belongs to the class. Links are followed, except one
      that leads back to a folder it lies in.
    - Classes and samples are sorted naturally (img2 before img10), by code point and never by locale.
    - Class names are kept as they are on the disk. A class folder may be empty, and there may be a single one or
      no train/: what training asks for is checked by `require_trainable`.
    - Hidden files and system clutter are passed over; other files that are no images, and images outside of
      class folders, are named in `ignored`.

    Raises:
        DataError: the folder cannot be read, or its layout is another.
    """
    folders, strays = _level(root)
    splits = _split_folders(root, folders)
    found: list[_ClassFolder] = []
    for split, folder in splits.items() if splits else [(None, root)]:
        inner, loose = (folders, strays) if split is None else _level(folder)
        if not inner:
            raise _no_class_folders(folder, loose)
        if split is not None:
            strays = [*strays, *loose]
        found += [_ClassFolder(name, split, *walk(str(folder / name))) for name in inner]
    return _listing(root, found, _classes(found), strays)


def _level(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders directly in a folder, and paths of the files directly in it."""
    found = entries(str(folder))
    folders = sorted((entry.name for entry in found if is_folder(entry)), key=natural)
    return folders, [entry.path for entry in found if not is_folder(entry)]


def _split_folders(root: Path, folders: Sequence[str]) -> dict[Split, Path]:
    """The folder of each split, or nothing when the folders are classes."""
    named = [name for name in folders if name.lower() in SPLIT_WORDS]
    rest = [name for name in folders if name.lower() not in SPLIT_WORDS]
    if rest:
        named = [name for name in named if any(map(is_folder, entries(str(root / name))))]
    if not named:
        return {}
    if rest:
        raise DataError(
            f"{root} holds {listed(f'{name}/' for name in named)} with class folders inside, and beside it "
            f"{listed(f'{name}/' for name in rest)}.",
            "Expected either class folders or train/, val/ and test/, not both: move the others elsewhere.",
        )
    splits: dict[Split, Path] = {}
    for name in named:
        split = SPLIT_WORDS[name.lower()]
        if split in splits:
            raise DataError(
                f"{root} holds both {splits[split].name}/ and {name}/; both are the {split} split.",
                "Expected one folder per split: merge them or move one elsewhere.",
            )
        splits[split] = root / name
    return splits


def _no_class_folders(folder: Path, files: Sequence[str]) -> DataError:
    images = [path for path in files if _has_image_suffix(path)]
    if images:
        example = Path(images[0]).name
        return DataError(
            f"{folder} holds {counted(len(images), 'image')} (such as {example}) but no class folders, "
            "so nothing says what they show.",
            f"{_LAYOUT} Images without labels are for `finetune-advisor predict`.",
        )
    if files:
        return DataError(f"{folder} holds no images and no class folders, {_other_files(files)}.", _LAYOUT)
    return DataError(f"{folder} is empty.", _LAYOUT)


def _classes(found: Sequence[_ClassFolder]) -> tuple[str, ...]:
    """The class names in order; an empty folder in val/ or test/ says only that none is there."""
    names = {folder.name for folder in found if folder.images or folder.split in (None, "train")}
    return tuple(sorted(names, key=natural))


def _listing(root: Path, found: Sequence[_ClassFolder], classes: tuple[str, ...], strays: Sequence[str]) -> Listing:
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
    )


def _relative(path: str, base: str) -> str:
    relative = path[len(base) :].lstrip(os.sep)
    return relative if os.sep == "/" else relative.replace(os.sep, "/")


def _has_image_suffix(path: str) -> bool:
    return Path(path).suffix.lower() in image_suffixes()


def _other_files(paths: Sequence[str]) -> str:
    return f"only {counted(len(paths), 'other file')} such as {Path(paths[0]).name}"
