"""Why contents cannot be decoded, found by their digest: a small text file for each, as bad ones are few.

A file is written whole or not at all and always says the same, so processes can share a folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.artifacts.storage import atomic_write, cached_files
from finetune_advisor.errors import StorageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReasonStore:
    """The reasons in one folder. With `folder` None nothing is read from or written to disk."""

    folder: Path | None

    def load(self, digests: Iterable[str]) -> dict[str, str]:
        """The reasons that are known, by digest."""
        if self.folder is None:
            return {}
        known = {path.name for path in cached_files(self.folder)}
        return {digest: _read(self.folder / digest) for digest in set(digests) & known}

    def save(self, reasons: Mapping[str, str]) -> None:
        """Remember reasons; where the disk takes nothing that costs a warning."""
        if self.folder is None:
            return
        try:
            for digest, reason in reasons.items():
                atomic_write(self.folder / digest, reason.encode(errors="surrogateescape"))
        except StorageError as problem:
            log.warning("the next command tries to decode bad files again: %s", problem.message)


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")
