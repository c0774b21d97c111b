"""What is wrong with a data set as a whole, from plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Copies = tuple[tuple[str, ...], ...]
"""Groups of names of images that are the same; at least two in each."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Copies that do harm: scores are too good where copies train and test, labels contradict each other."""

    splits: Copies
    classes: Copies


def exact_duplicates(names: Sequence[str], digests: Sequence[str | None]) -> Copies:
    """Names of files with the same content, in the order given; a file without a digest is nobody's copy."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for name, digest in zip(names, digests, strict=True):
        if digest is not None:
            same[digest].append(name)
    return tuple(tuple(group) for group in same.values() if len(group) > 1)


def crossing(duplicates: Copies, split_of: Mapping[str, str | None], label_of: Mapping[str, int | str]) -> Crossing:
    """Those groups of copies that lie in more than one split, and those that lie in more than one class."""
    return Crossing(
        splits=tuple(group for group in duplicates if len({split_of[name] for name in group}) > 1),
        classes=tuple(group for group in duplicates if len({label_of[name] for name in group}) > 1),
    )


def imbalance(counts: Collection[int]) -> float:
    """How many times larger the largest class is than the smallest; 1 when all are equal."""
    assert counts, "no classes"
    assert min(counts) > 0, "a class without images"
    return max(counts) / min(counts)
