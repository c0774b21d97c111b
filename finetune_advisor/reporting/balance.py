"""How many images each class has, as the page draws it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.reporting.names import shown

EACH_END = 10
"""Of many classes the largest and the smallest so many are shown."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    name: str
    images: int
    share: float
    """Of the largest class, 0..1: the length of the bar."""
    test: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Classes by number of trainable images, largest first."""

    top: tuple[ClassRow, ...]
    left_out: int
    """Classes between the two ends."""
    bottom: tuple[ClassRow, ...]


def balance(profile: Profile) -> Balance | None:
    """The classes; None where the profile has no counts by class."""
    counts = _trainable(profile)
    if not counts:
        return None
    test = profile.splits["test"].per_class if "test" in profile.splits else {}
    largest = max(counts.values()) or 1
    rows = [
        ClassRow(shown(name, 40), images, images / largest, test.get(name, 0))
        for name, images in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    if len(rows) <= 2 * EACH_END + 1:
        return Balance(tuple(rows), 0, ())
    return Balance(tuple(rows[:EACH_END]), len(rows) - 2 * EACH_END, tuple(rows[-EACH_END:]))


def largest_share(profile: Profile) -> float | None:
    """Accuracy of naming the largest class every time; None where the profile has no counts by class."""
    counts = _trainable(profile)
    total = sum(counts.values())
    return max(counts.values()) / total if total else None


def _trainable(profile: Profile) -> Counter[str]:
    counts: Counter[str] = Counter()
    for split, count in profile.splits.items():
        if split != "test":
            counts.update(count.per_class)
    return counts
