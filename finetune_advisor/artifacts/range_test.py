"""What a sweep over learning rates found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RangeTest:
    """Loss of a step at each rate of a rising series; rates are those of the new classifier, `optimizer.lr`."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed over neighboring steps."""
    steepest: float | None
    """Rate at which the loss falls fastest; None where it never falls."""
    tenth_of_lowest: float | None
    """A tenth of the rate at which the loss is lowest."""
    diverged: bool
    """Whether the loss exploded before the largest rate."""

    @property
    def suggestion(self) -> float | None:
        """The smaller of both: a rate that is too low costs time, one that is too high costs the pretrained layers."""
        if self.steepest is None or self.tenth_of_lowest is None:
            return None
        return min(self.steepest, self.tenth_of_lowest)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "suggestion": self.suggestion}
