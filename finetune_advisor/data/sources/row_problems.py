"""What is wrong with the rows of a table, gathered so that all of it is told at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from finetune_advisor.data.sources.listing import SPLIT_WORDS
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import DataError

_SHOWN = 5
"""Rows that are named for each kind of problem: enough to see the pattern."""


@dataclass
class _Kind:
    rows: int = 0
    first: list[int] = field(default_factory=list)
    words: dict[str, None] = field(default_factory=dict)


@dataclass
class RowProblems:
    """Kinds of problems, each with how many rows have it and the first of them.

    Attributes:
        unit: what a row's number counts: `line` or `row`.
    """

    unit: str
    kinds: dict[str, _Kind] = field(default_factory=dict)

    def add(self, kind: str, number: int) -> None:
        """Note that a row has a problem; `kind` goes on after `3 rows`."""
        found = self.kinds.setdefault(kind, _Kind())
        found.rows += 1
        if len(found.first) < _SHOWN:
            found.first.append(number)

    def add_word(self, kind: str, number: int, word: str) -> None:
        """The same, for a problem with a word that is shown."""
        self.add(kind, number)
        self.kinds[kind].words.setdefault(repr(word))

    def complain(self, path: Path) -> None:
        """Raise one error about everything that was noted, if anything was.

        Raises:
            DataError: something was.
        """
        if not self.kinds:
            return
        lines = "".join(f"\n  {self.sentence(kind)}" for kind in self.kinds)
        words = ", ".join(SPLIT_WORDS)
        hint = "Correct or remove these rows."
        if any(found.words for found in self.kinds.values()):
            hint += f" Known splits, in any case: {words}."
        raise DataError(f"{path} has rows that cannot be used:{lines}", hint)

    def sentence(self, kind: str) -> str:
        """`3 rows without a label (lines 2, 3, 9)`."""
        found = self.kinds[kind]
        more = ", ..." if found.rows > len(found.first) else ""
        unit = self.unit if found.rows == 1 else f"{self.unit}s"
        words = f": {listed(found.words)}" if found.words else ""
        return f"{counted(found.rows, 'row')} {kind}{words} ({unit} {', '.join(map(str, found.first))}{more})"
