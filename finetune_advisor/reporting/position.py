"""Where the data lies in the 2x2 table, as a point of the unit square.

Both axes are bent so that the borders lie in the middle: how far a point is from a border is how sure its cell is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetune_advisor.artifacts.profile import Profile, Size

DECADES = 2.0
"""Powers of ten of the images a class that are shown on either side of a border given in images."""

INSIDE = 0.004
"""How near to a border a point is drawn at most, so that it shows on the side of the verdict."""


@dataclass(frozen=True, slots=True)
class Position:
    """A point; `across` is 0 for ImageNet itself and 1 for nothing like it, `down` 0 for no data and 1 for plenty."""

    across: float
    down: float
    left: float
    """Left end of the interval of similarity, on the same axis."""
    right: float


def position(profile: Profile) -> Position:
    """The place of a profile that `advice` has placed; always on the side of each border that its verdict names."""
    size, similarity = profile.size, profile.similarity
    border = similarity.threshold
    assert size.threshold is not None and border is not None, "the profile is not placed"
    ends = sorted(1 - _bent(score, border) for score in (similarity.low, similarity.high))
    return Position(
        across=_on_side(1 - _bent(similarity.score, border), second=similarity.verdict == "different"),
        down=_on_side(_amount(size, size.threshold), second=size.verdict == "plenty"),
        left=ends[0],
        right=ends[1],
    )


def _amount(size: Size, border: float) -> float:
    if size.amount is not None:
        return _bent(size.amount, border)
    # An older rule: the border is a number of images a class.
    return 0.5 + 0.5 * math.log10(max(size.per_effective_class, 1e-9) / border) / DECADES


def _bent(value: float, border: float) -> float:
    """A value in [0, 1] moved so that the border becomes one half."""
    if value < border:
        return 0.5 * value / border
    return 0.5 + 0.5 * (value - border) / max(1 - border, 1e-9)


def _on_side(share: float, *, second: bool) -> float:
    share = min(max(share, 0.0), 1.0)
    return max(share, 0.5 + INSIDE) if second else min(share, 0.5 - INSIDE)
