"""Fingerprints of files: equal content, equal text."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.data.opening import cannot_open
from finetune_advisor.errors import UnopenedFile

_THREADS = 8
"""Reading waits for the disk and hashing releases Python's lock, so more threads than cores are of use."""

_KEY = 8
"""Bytes of an image's name, and as many of its content, in the fingerprint of a data set."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How many images of a data set are new, gone, or not what they were."""

    added: int
    removed: int
    changed: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.removed:,} removed, {self.changed:,} changed"


def fingerprint(images: Iterable[tuple[str, str, str | None]]) -> str:
    """What tells later how many images of a data set were added, removed or changed: 22 characters for each.

    Args:
        images: name, class name and content digest of each; None for a file that could not be read.
    """
    rows = sorted(_short(name) + _short(f"{label}\0{content}") for name, label, content in images)
    return b64encode(b"".join(rows)).decode("ascii")


def changes(before: str, after: str) -> Changes:
    """Compare two fingerprints of one data set.

    Raises:
        ValueError: one of them is none.
    """
    old, new = _entries(before), _entries(after)
    both = old.keys() & new.keys()
    return Changes(len(new) - len(both), len(old) - len(both), sum(old[name] != new[name] for name in both))


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=_KEY).digest()


def _entries(text: str) -> dict[bytes, bytes]:
    content = b64decode(text, validate=True)
    if len(content) % (2 * _KEY):
        raise ValueError(f"{len(content)} bytes are no fingerprint")
    return {content[at : at + _KEY]: content[at + _KEY : at + 2 * _KEY] for at in range(0, len(content), 2 * _KEY)}


def digest(path: str | Path) -> str:
    """BLAKE2b of a file's content, 16 bytes as 32 hexadecimal digits.

    Raises:
        UnopenedFile: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, _hash).hexdigest()
    except OSError as error:
        raise cannot_open(error) from error


def digest_of(content: bytes) -> str:
    """The digest of a file with this content."""
    hashed = _hash()
    hashed.update(content)
    return hashed.hexdigest()


def _hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def digests(paths: Iterable[str | Path]) -> tuple[tuple[str | None, ...], dict[int, str]]:
    """The digest of every file, in order, None for one that cannot be read; and why, by its place."""
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_digest_or_reason, paths))
    reasons = {place: made.message for place, made in enumerate(found) if isinstance(made, UnopenedFile)}
    return tuple(made if isinstance(made, str) else None for made in found), reasons


def _digest_or_reason(path: str | Path) -> str | UnopenedFile:
    try:
        return digest(path)
    except UnopenedFile as reason:
        return reason
