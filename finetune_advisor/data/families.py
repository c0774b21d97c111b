"""Which images belong together: copies, near-duplicates, and the groups a person gave."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from finetune_advisor.data.near_duplicates import Pair

IntArray = npt.NDArray[np.intp]


def family_ids(
    count: int,
    *,
    digests: Sequence[Hashable],
    pairs: Iterable[Pair | tuple[int, int]] = (),
    groups: Sequence[Hashable | None] | None = None,
) -> IntArray:
    """The family of each image (N,), numbered by the first image of each.

    Two images are in one family when a chain of byte-identical files, near-duplicates and common groups leads from
    one to the other.

    Args:
        count: N.
        digests: content of each file; None is nobody's copy.
        pairs: near-duplicates, by place.
        groups: the person's own group of each image, None where it has none.
    """
    parent = list(range(count))
    for same in (digests, groups or ()):
        assert len(same) in (0, count), (len(same), count)
        first: dict[Hashable, int] = {}
        for place, value in enumerate(same):
            if value is not None:
                _join(parent, first.setdefault(value, place), place)
    for pair in pairs:
        _join(parent, pair[0], pair[1])
    roots_N = np.array([_root(parent, place) for place in range(count)], dtype=np.intp)
    return np.unique(roots_N, return_inverse=True)[1].astype(np.intp).reshape(count)


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


def _join(parent: list[int], one: int, other: int) -> None:
    """The smaller root stays, so that a family is named by its first image."""
    one, other = sorted((_root(parent, one), _root(parent, other)))
    parent[other] = one
