"""Sudden drops at chosen moments."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from finetune_advisor.techniques.schedule.base import FromPeak


class Step(FromPeak):
    """Multiply the rate by a factor at fixed moments.

    For recipes of papers that say at which epochs the rate drops.
    """

    source: ClassVar[str] = "Krizhevsky et al. 2012, ImageNet Classification; Kolesnikov et al. 2020, Big Transfer"
    not_advised: ClassVar[str] = "Its moments have to be chosen, which `one_cycle` spares; the two were not compared."

    kind: Literal["step"] = "step"
    at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.3, 0.6, 0.9)
    """Shares of the steps, after a warmup if there is one, after which the rate drops."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What each drop multiplies the rate by."""

    @field_validator("at")
    @classmethod
    def _moments_follow_each_other(cls, at: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(at)):
            raise ValueError(f"expected moments in rising order, found {list(at)}")
        return at

    def after_warmup(self, progress: float) -> float:
        """`factor` to the power of the number of drops so far."""
        return self.factor ** sum(moment <= progress for moment in self.at)
