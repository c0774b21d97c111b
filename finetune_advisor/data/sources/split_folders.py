"""Which folders are splits: train/, val/ and test/, or Training/ and Testing/, seg_train/ and seg_test/, and the like.

A class may be called `train` or `test tube`, so a name alone decides nothing unless it is exactly a split's: folders
with other names count as splits only when they differ in nothing but the split, and hold the same classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune_advisor.data.sources.listing import SPLIT_WORDS, Split
from finetune_advisor.data.sources.scan import Folder
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import DataError

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
