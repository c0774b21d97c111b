"""The labeled images of a data set before any of them is opened, its classes, and what training asks of them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources.scan import image_suffixes, natural
from finetune_advisor.text import counted, listed

Split = Literal["train", "val", "test"]

SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
}
"""What people call the splits, in lower case."""

ClassFolders = Literal["outer", "inner"]
"""Which folders are the classes where two levels could be: those directly in the data folder (or in train/), or those
inside them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a person says about how a data set is to be read; the defaults are the usual rules.

    Attributes:
        group: column that says which images belong together; None takes the column `group` where there is one.
        path_column, label_column: columns of a table with the paths and the classes; None takes one of the usual names.
        merge_classes: make one class of those whose names differ only in case, blanks, the encoding of accents, or the
            way a number is written.
        class_folders: which level of folders are the classes; None asks where two levels could be.
    """

    group: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    merge_classes: bool = False
    class_folders: ClassFolders | None = None


USUAL = Reading()
"""The usual rules."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labeled image. A million of them fit into memory: text is kept, paths are made when asked for.

    Attributes:
        root: absolute path of the folder the name is relative to; all samples of a listing share it.
        name: path relative to the root with forward slashes, or an absolute one where the person wrote it so; this is
            what people see and splits.csv stores.
        label: index into the listing's `classes`.
        split: the part it belongs to, or None as long as nobody has split the images.
        group: images of the same patient or scene share it; None: the image stands alone.
    """

    root: str
    name: str
    label: int
    split: Split | None
    group: str | None = None

    @property
    def path(self) -> Path:
        """Absolute path of the file."""
        return Path(self.root, self.name)


@dataclass(frozen=True, slots=True)
class Listing:
    """All samples of a data set, in an order that depends on nothing but their names.

    Attributes:
        root: absolute path of the folder the names are relative to.
        source: what opens the same data again: the absolute path of a folder, manifest or archive, or `hf:NAME`.
        classes: class names; a sample's label is an index into them.
        samples: the labeled images.
        ignored: names of files that were left out because they are not images or stand in no class folder.
        notes: sentences about what was read otherwise than a person may expect, such as rows that were left out.
        reading: how the data was read, as the person asked for it.
        packed: what the images were unpacked from, where the root lies in the cache: the absolute path of an archive or
            of a folder in it, that of a saved data set, or `hf:NAME`. A table names an image `packed/name`.
        group_column: what the column is called whose values are the samples' groups; None where there is none.
    """

    root: Path
    source: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()
    reading: Reading = USUAL
    packed: str | None = None
    group_column: str | None = None

    def part(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one split, in order."""
        return tuple(sample for sample in self.samples if sample.split == split)


MERGE_OPTION = "--merge-classes (recipe: data.merge_classes: true)"

_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?")
_SPACES = re.compile(r"\s+")
_MISSING = frozenset({"", "nan", "<na>", "#n/a"})
_SURE_SEPARATORS = re.compile(r"\s*[;|]\s*")
_SEPARATORS = re.compile(r"\s*[;|,+/&]\s*")
_OTHER_SPLITS: tuple[Split, ...] = ("val", "test")


def is_missing(label: str) -> bool:
    """Whether a label says that there is none: it is empty, or what pandas writes for it."""
    return label.strip().casefold() in _MISSING


def likeness(name: str) -> str:
    """A key that class names share which differ only in case, blanks, the encoding of accents, or a number's form."""
    plain = _SPACES.sub(" ", unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())).strip()
    number = _NUMBER.fullmatch(plain)
    return f"{number[1].lstrip('+')}{number[2]}" if number else plain


def merged(listing: Listing) -> Listing:
    """The listing with classes of nearly the same name made one, called like the one with the most images."""
    groups = _alike(listing.classes)
    if not groups:
        return listing
    images = Counter(sample.label for sample in listing.samples)
    count = {name: images[label] for label, name in enumerate(listing.classes)}
    # Of equally many the first: max() keeps it, and the order of classes is that of their names.
    renamed = {name: max(group, key=count.__getitem__) for group in groups for name in group}
    note = f"Merged into one class each: {_named(groups)}."
    return replace(_renamed(listing, renamed), notes=(*listing.notes, note))


def called_as(listing: Listing, known: Sequence[str]) -> Listing:
    """The listing with classes called as in `known` where the names are nearly the same."""
    of = {likeness(name): name for name in reversed(known)}
    exact = set(known)
    return _renamed(listing, {name: of.get(likeness(name), name) for name in listing.classes if name not in exact})


def class_notes(listing: Listing) -> tuple[str, ...]:
    """A sentence for each thing about the classes that may be a mistake."""
    notes = []
    if groups := _alike(listing.classes):
        notes.append(
            f"Classes whose names differ only in case, blanks, encoding or number form are kept apart: "
            f"{_named(groups)}. To make them one: {MERGE_OPTION}."
        )
    if several := _several_labels(listing.classes):
        notes.append(
            f"{counted(len(several), 'class name')} like several labels in one: {listed(map(repr, several))}. Each is "
            "a class of its own here; images with several labels are not supported."
        )
    if missing := [name for name in listing.classes if is_missing(name)]:
        notes.append(f"A class is called {missing[0]!r}. If it holds images without a label, remove it.")
    return (*notes, *_coverage(listing))


def _alike(classes: Iterable[str]) -> list[tuple[str, ...]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[likeness(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _named(groups: Iterable[Sequence[str]]) -> str:
    pairs = [" = ".join(map(_distinct, group)) for group in groups]
    return "; ".join(pairs[:5]) + (f"; and {len(pairs) - 5} more" if len(pairs) > 5 else "")


def _distinct(name: str) -> str:
    """A name in quotes, with a word where its encoding is what differs from others."""
    decomposed = unicodedata.normalize("NFC", name) != name
    return f"{name!r} (decomposed accents)" if decomposed else repr(name)


def _several_labels(classes: Sequence[str]) -> list[str]:
    """Names that hold several labels: by a separator that is seldom part of a name, or because a part is a class."""
    known = {likeness(name) for name in classes}
    found = []
    for name in classes:
        parts = [part for part in _SEPARATORS.split(name) if part]
        sure = len([part for part in _SURE_SEPARATORS.split(name) if part]) > 1
        if len(parts) > 1 and (sure or all(likeness(part) in known for part in parts)):
            found.append(name)
    return found


def _coverage(listing: Listing) -> Iterable[str]:
    """Classes that a person's own validation or test split has no image of."""
    for split in _OTHER_SPLITS:
        labels = {sample.label for sample in listing.samples if sample.split == split}
        absent = [name for label, name in enumerate(listing.classes) if label not in labels]
        if labels and absent:
            yield (
                f"No {split} images of {counted(len(absent), 'class', 'classes')}: {listed(absent)}. "
                f"Scores on {split} say nothing about {'it' if len(absent) == 1 else 'them'}."
            )


def _renamed(listing: Listing, new: dict[str, str]) -> Listing:
    names = [new.get(name, name) for name in listing.classes]
    classes = tuple(sorted(set(names), key=natural))
    place = {name: label for label, name in enumerate(classes)}
    label_of = [place[name] for name in names]
    samples: tuple[Sample, ...] = tuple(replace(sample, label=label_of[sample.label]) for sample in listing.samples)
    return replace(listing, classes=classes, samples=samples)


MINIMUM = 2
"""Fewest images of a class, train and val together, that can be trained on and checked."""


def require_trainable(listing: Listing) -> None:
    """Check that a model can be trained on these images and validated.

    There are at least two classes, each with images in the train split where there are splits, and each with at least
    two in train and val together; it may be missing from val and test.

    Raises:
        DataError: the first of these that does not hold, with the classes concerned.
    """
    splits = {sample.split for sample in listing.samples}
    if splits and not splits & {None, "train"}:
        found = listed(split for split in ("val", "test") if split in splits)
        raise DataError(
            f"{listing.source} holds images for {found} but none for train.",
            "Expected images of every class in the train split: in a folder called train, or so named in the manifest.",
        )
    _require_known(listing)
    if len(listing.classes) == 1:
        raise DataError(
            f"{listing.source} holds only one class, {listing.classes[0]!r}.",
            "Expected at least two classes to tell apart: each a folder of images, or a label in the manifest.",
        )
    _require_images(listing)
    _require_enough(listing)


def _require_known(listing: Listing) -> None:
    """Nothing is validated or tested that was not trained."""
    training = {sample.label for sample in listing.samples if sample.split in (None, "train")}
    for sample in listing.samples:
        if sample.label not in training:
            name = listing.classes[sample.label]
            raise DataError(
                f"The {sample.split} split has images of a class {name!r}, the train split has none.",
                _spelling_hint(name, (listing.classes[label] for label in sorted(training))),
            )


def _spelling_hint(name: str, training: Iterable[str]) -> str:
    for known in training:
        if likeness(known) == likeness(name):
            return (
                f"{known!r} in train differs only in case, blanks, or in how accents are encoded: give both the same "
                f"name, or make them one with {MERGE_OPTION}."
            )
    return "Expected the classes of the train split everywhere: check the spelling, or leave these images out."


def _require_images(listing: Listing) -> None:
    filled = {sample.label for sample in listing.samples}
    empty = [name for label, name in enumerate(listing.classes) if label not in filled]
    if not empty:
        return
    others = [name for name in listing.ignored if not set(empty).isdisjoint(name.split("/")[:-1])]
    found = f" (only {counted(len(others), 'other file')} such as {Path(others[0]).name})" if others else ""
    raise DataError(
        f"{counted(len(empty), 'class folder')} without images: {listed(empty)}{found}.",
        f"Expected at least {MINIMUM} images in each: add some or remove the folder. "
        f"Image suffixes read here: {' '.join(sorted(suffix[1:] for suffix in image_suffixes()))}.",
    )


def _require_enough(listing: Listing) -> None:
    trainable = Counter(sample.label for sample in listing.samples if sample.split != "test")
    few = [name for label, name in enumerate(listing.classes) if trainable[label] < MINIMUM]
    if few:
        raise DataError(
            f"{counted(len(few), 'class', 'classes')} with a single image to train on: {listed(few)}.",
            f"Expected at least {MINIMUM} images per class, one to train on and one to check with: "
            "add some or remove the class.",
        )
