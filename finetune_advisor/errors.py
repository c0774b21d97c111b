"""Everything that can go wrong and that the person at the keyboard can mend.

    FinetuneAdvisorError      one message, exit code 1
    ├── DataError             the images, the labels or the way they are split
    │   └── UnreadableImage   one file that cannot be decoded
    │       └── UnopenedFile  the disk does not give it out; its content may be fine
    ├── RecipeError           the recipe file: every problem at once
    ├── BackboneError         an unknown network, stage or input size
    │   └── WeightsError      the network is known, its weights are not to be had
    ├── RunError              a run folder: not empty, unfinished, not resumable
    ├── StorageError          a disk that is full or cannot be written
    ├── OtherProcessEnded     under torchrun: one of the processes failed, the others cannot go on
    └── Interrupted           stopped by a signal, state saved, exit code 130

A message says what was found and what was expected; `hint` is the command or key that mends it.
Our own bugs are `assert` failures, never one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class FinetuneAdvisorError(Exception):
    """Base of every error that is reported as one message instead of a traceback."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class DataError(FinetuneAdvisorError):
    """The images, their labels or their split cannot be used as they are."""


class UnreadableImage(DataError):
    """One file that cannot be decoded; `message` is the reason, without the path."""


class UnopenedFile(UnreadableImage):
    """A file that is gone, forbidden or cannot be read to its end, which says nothing about its content."""


class BackboneError(FinetuneAdvisorError):
    """An unknown network, an unknown stage, or an input the network does not take."""


class WeightsError(BackboneError):
    """The network is known but the weights asked for cannot be had here."""


class RunError(FinetuneAdvisorError):
    """A run folder that cannot be written, continued or read."""


class StorageError(FinetuneAdvisorError):
    """A disk that is full, read-only or damaged."""


class OtherProcessEnded(FinetuneAdvisorError):
    """One of the processes that work together is gone, and with it its part of the work."""


class Interrupted(FinetuneAdvisorError):
    """Stopped by Ctrl-C or a signal after the state was saved; `hint` says how to go on."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a recipe: the dotted key, where it stands and what would be right."""

    key: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.key}: {self.message}" if self.key else f"{place}{self.message}"


class RecipeError(FinetuneAdvisorError):
    """A recipe that cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem], hint: str | None = None) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{count} in the recipe:\n{lines}", hint)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """An ending for a sentence about an unknown name: `; did you mean 'x'?`, or nothing where no name is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
