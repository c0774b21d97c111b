"""Fingerprints of files: equal content, equal text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from finetune_advisor.data.opening import cannot_open
from finetune_advisor.errors import UnopenedFile

_THREADS = 8
"""Reading waits for the disk and hashing releases Python's lock, so more threads than cores are of use."""


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
