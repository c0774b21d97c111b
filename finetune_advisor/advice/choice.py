"""What a rule gives: a key of the recipe with its value and the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from finetune_advisor.artifacts.profile import Cell, Profile

KEEP = object()
"""The value of a line that is only explained: the shipped recipe's, or an item of a list that another choice sets."""

SURE = 2.0
"""Standard errors from which a difference is more than chance."""


@dataclass(frozen=True)
class Choice:
    """A key of the recipe with the value chosen for this data, and why."""

    key: str
    value: Any
    """What the key is set to, or `KEEP`."""
    reason: str


Rule = Callable[[Profile, Cell], Iterator[Choice]]
"""A decision: reads a placed profile and the cell whose recipe is written."""


def points(difference: float) -> str:
    """A difference of two accuracies in points, as a person says it."""
    rounded = round(100 * difference, 1) or 0.0
    return f"{rounded:+.1f} points"
