"""Words for messages: counts, lists, and names of files and classes that cannot disturb a screen."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 60
"""Characters of a name that are shown where nothing else limits it."""

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of what cannot be seen: controls, marks that turn the direction of writing, line ends."""

_OVERLONG_ACCENTS = 3
"""Accents on one letter from which the rest is left out: towers of them cover the lines around."""


def shown(name: str, longest: int = LONGEST, *, keep_bytes: bool = False) -> str:
    """A name for a person to read: what cannot be seen is written as an escape, the middle of a long one left out.

    Args:
        longest: columns that the result takes at most, wide letters counted as two; at least three.
        keep_bytes: leave bytes that are not UTF-8 as they are, for where they can be printed.
    """
    # A first cut, generous: nobody needs all of a name of megabytes to see its ends.
    if len(name) > 4 * longest:
        name = name[: 2 * longest] + "…" + name[-2 * longest :]
    pieces = [letter if keep_bytes and _is_byte(letter) else _escaped(letter) for letter in _few_accents(name)]
    if _width(pieces) <= longest:
        return "".join(pieces)
    tail = longest // 2
    return _front(pieces, longest - 1 - tail) + "…" + _front(pieces[::-1], tail, backwards=True)


def printable(text: str) -> str:
    """A message of several lines, in which nothing that is quoted can move the cursor or turn the writing around.

    Bytes of names that are not UTF-8 stay: they can be printed.
    """
    return "".join(letter if letter in "\n\t" or _is_byte(letter) else _escaped(letter) for letter in text)


def some(names: Sequence[str], most: int, longest: int = LONGEST, *, keep_bytes: bool = False) -> str:
    """The first few of many names, and how many more there are."""
    listed = ", ".join(shown(name, longest, keep_bytes=keep_bytes) for name in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most:,} more"


def _is_byte(letter: str) -> bool:
    """Whether Python holds a byte of a file's name here, which is not UTF-8."""
    return "\udc80" <= letter <= "\udcff"


def _few_accents(name: str) -> str:
    kept, accents = [], 0
    for letter in name:
        accents = accents + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if accents <= _OVERLONG_ACCENTS:
            kept.append(letter)
    return "".join(kept)


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSEEN:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def _width(pieces: Sequence[str]) -> int:
    return sum(_columns(letter) for piece in pieces for letter in piece)


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def _front(pieces: Sequence[str], columns: int, *, backwards: bool = False) -> str:
    """As many whole pieces as fit, in the order of the name again where they were given backwards."""
    taken: list[str] = []
    for piece in pieces:
        columns -= _width([piece])
        if columns < 0:
            break
        taken.append(piece)
    return "".join(taken[::-1] if backwards else taken)


def quoted(path: object, stand_in: str) -> str:
    """A path as a word of a shell command; `stand_in` where it holds what cannot be typed."""
    text = str(path)
    return shlex.quote(text) if shown(text, 10**6) == text else stand_in


_SHOWN = 10


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Iterable[str]) -> str:
    """Names in a row, the first ten of many."""
    everything = list(names)
    hidden = len(everything) - _SHOWN
    return ", ".join(everything[:_SHOWN]) + (f" and {hidden} more" if hidden > 0 else "")
