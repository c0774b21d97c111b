"""What is odd about the classes of a data set, said once; and classes of nearly the same name made one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from finetune_advisor.data.sources.listing import Listing, Sample, Split
from finetune_advisor.data.sources.scan import natural
from finetune_advisor.data.wording import counted, listed

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
