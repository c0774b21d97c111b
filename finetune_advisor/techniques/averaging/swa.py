"""Stochastic weight averaging."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.averaging.base import Averaging, Moment


class Swa(Averaging):
    """Average the networks at the ends of the last epochs, all counting the same.

    For training that goes on at a raised rate after it has settled; wider minima often generalize better.
    """

    source: ClassVar[str] = "Izmailov et al. 2018, Averaging Weights Leads to Wider Optima and Better Generalization"
    not_advised: ClassVar[str] = (
        "It raises the rate where the advised schedule lets it fall; which of the two is better was not measured."
    )
    fits_batch_norm: ClassVar[bool] = True

    kind: Literal["swa"] = "swa"
    start: Annotated[float, Field(ge=0, lt=1)] = 0.75
    """Share of all steps after which the averaging starts."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """Multiple of the peak rate from then on, in place of the schedule's; null leaves the schedule alone."""

    def weight(self, moment: Moment) -> float:
        """1 / n for the n-th network."""
        return 1 / (1 + moment.averaged) if moment.evaluates and moment.progress > self.start else 0.0

    def multiplier(self, progress: float, scheduled: float) -> float:
        """The schedule's up to `start`, then `lr_factor`."""
        return scheduled if self.lr_factor is None or progress < self.start else self.lr_factor
