"""Near-duplicates of images that were searched before: every run of a recipe splits the images its analysis did."""

from __future__ import annotations

import hashlib

from finetune_advisor.artifacts.memory import Memory
from finetune_advisor.data.looks import Looks
from finetune_advisor.data.near_duplicates import Pair, near_duplicates

FORMAT = 2
"""Raised when a search of the same images would come out otherwise than before."""


def known_near_duplicates(looks: Looks) -> tuple[Pair, ...]:
    """What `near_duplicates` finds, remembered in the cache on disk by all that it goes by."""
    memory: Memory[tuple[Pair, ...]] = Memory.of(
        "pairs", tuple[Pair, ...], FORMAT, _digest(looks), costs="searches for near-duplicates"
    )
    pairs = memory.recall()
    if pairs is None:
        pairs = near_duplicates(looks)
        memory.keep(pairs)
    return pairs


def _digest(looks: Looks) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in (looks.thumbnails_NHW, looks.sizes_N2, looks.colors_NHWC):
        digest.update(array.tobytes())
    return digest.hexdigest()
