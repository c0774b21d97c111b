"""Fingerprints of files: equal content, equal text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from finetune_advisor.data.decode import cannot_open
from finetune_advisor.errors import UnreadableImage

_THREADS = 8
"""Reading waits for the disk and hashing releases Python's lock, so more threads than cores are of use."""


def digest(path: str | Path) -> str:
    """BLAKE2b of a file's content, 16 bytes as 32 hexadecimal digits.

    Raises:
        UnreadableImage: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UnreadableImage(cannot_open(error)) from error


def digests(paths: Iterable[str | Path]) -> list[str | None]:
    """The digest of every file, in order; None for one that cannot be read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_digest_if_readable, paths))


def _digest_if_readable(path: str | Path) -> str | None:
    try:
        return digest(path)
    except UnreadableImage:
        return None
