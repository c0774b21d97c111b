"""Drops when validation stops improving."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.schedule.base import FromPeak, ScheduleState


class Plateau(FromPeak):
    """Multiply the rate by a factor whenever validation has stopped improving.

    The rule of the slides, for training of unknown length; it needs a validation set that is not too small.
    """

    source: ClassVar[str] = "slides: during training (no progress on the validation set: divide the LR by 2, or by 5)"
    not_advised: ClassVar[str] = (
        "The length of an advised training is known, and validation on few images is too noisy to steer a rate."
    )

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """What each drop multiplies the rate by."""
    patience: Annotated[int, Field(ge=0)] = 3
    """Evaluations without progress that are put up with before a drop."""
    threshold: Annotated[float, Field(ge=0)] = 1e-3
    """How much better an evaluation must be to count as progress."""
    min_factor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate below which no drop leads; training goes on there."""

    def after_warmup(self, progress: float) -> float:  # noqa: ARG002
        """Always 1: only the state moves the rate."""
        return 1.0

    def advance(self, state: ScheduleState, metric: float) -> ScheduleState:
        """Count an evaluation (larger is better); drop the rate after more than `patience` bad ones."""
        if state.best is None or metric > state.best + self.threshold:
            return replace(state, best=metric, bad_evaluations=0)
        if state.bad_evaluations < self.patience:
            return replace(state, bad_evaluations=state.bad_evaluations + 1)
        return replace(state, bad_evaluations=0, factor=max(state.factor * self.factor, self.min_factor))
