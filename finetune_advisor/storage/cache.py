"""Answers to questions that were asked before, found by everything they follow from.

One JSON file for each, written whole or not at all and always saying the same, so processes can share a folder.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from finetune_advisor.errors import StorageError
from finetune_advisor.storage.files import atomic_write, cache_root

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Memory(Generic[Answer]):
    """Where the answer to one question is kept."""

    path: Path
    form: TypeAdapter[Answer]
    costs: str
    """What the next command does once more if the disk takes nothing."""

    @staticmethod
    def of(kind: str, form: Any, *question: object, costs: str) -> Memory[Any]:
        """The memory of one question.

        Args:
            kind: folder of the cache for answers of this kind.
            form: the type of the answer, as pydantic understands it.
            question: everything that the answer depends on, as values with a stable `repr`.
            costs: as above.
        """
        text = repr(question).encode(errors="surrogateescape")
        name = f"{hashlib.blake2b(text, digest_size=16).hexdigest()}.json"
        return Memory(cache_root() / kind / name, TypeAdapter(form), costs)

    def recall(self) -> Answer | None:
        """The answer, if this question was answered before; a damaged one is removed, which is said once."""
        try:
            return self.form.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.warning("an entry of the cache is damaged; it is removed and computed again: %s", self.path)
            with suppress(OSError):  # on a read-only disk it stays
                self.path.unlink()
        except OSError as problem:
            log.warning("an entry of the cache cannot be read and is computed again: %s (%s)", self.path, problem)
        return None

    def keep(self, answer: Answer) -> None:
        """Remember the answer; where the disk takes nothing that costs a warning."""
        try:
            atomic_write(self.path, self.form.dump_json(answer))
        except StorageError as problem:
            log.warning("the next command %s again: %s", self.costs, problem.message)
