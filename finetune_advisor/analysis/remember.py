"""Profiles of earlier analyses: the second analysis of unchanged data costs no more than reading the files."""

from __future__ import annotations

from finetune_advisor.artifacts.memory import Memory
from finetune_advisor.artifacts.profile import Profile

FORMAT = 6
"""Raised when an analysis of the same data would come out otherwise than before."""


def profile_memory(*question: object) -> Memory[Profile]:
    """The memory of an analysis, by everything that its result depends on, as values with a stable `repr`."""
    return Memory.of("profiles", Profile, FORMAT, *question, costs="fits the linear classifiers")
