"""What a file holds, as a short text: the key under which everything computed from it is cached."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits; not read again while it does not change."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


def text_digest(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=64)
def _digest(path: Path, modified_ns: int, size: int) -> str:  # noqa: ARG001 - part of the cache key
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
