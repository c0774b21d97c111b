"""Counts and lists in the messages of this package."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 10


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """Names in a row, the first ten of many."""
    everything = list(names)
    hidden = len(everything) - _SHOWN
    return ", ".join(everything[:_SHOWN]) + (f" and {hidden} more" if hidden > 0 else "")
