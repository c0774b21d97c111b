"""Profiles of earlier analyses, found by everything they follow from.

The second analysis of unchanged data costs no more than reading the files.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.storage import atomic_write, cache_root
from finetune_advisor.errors import StorageError

FORMAT = 5
"""Raised when an analysis of the same data would come out otherwise than before."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Memory:
    """Where the profile of one question is kept."""

    path: Path

    @staticmethod
    def of(*question: object) -> Memory:
        """The memory of an analysis, by everything that its result depends on, as values with a stable `repr`."""
        text = repr((FORMAT, *question)).encode(errors="surrogateescape")
        return Memory(cache_root() / "profiles" / f"{hashlib.blake2b(text, digest_size=16).hexdigest()}.json")

    def recall(self) -> Profile | None:
        """The profile, if this question was answered before."""
        try:
            return Profile.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as problem:
            log.warning("a remembered analysis cannot be used and is made again: %s (%s)", self.path, problem)
            return None

    def keep(self, profile: Profile) -> None:
        """Remember the answer; where the disk takes nothing that costs a warning."""
        try:
            atomic_write(self.path, profile.model_dump_json())
        except StorageError as problem:
            log.warning("the next analysis fits the linear classifiers again: %s", problem.message)
