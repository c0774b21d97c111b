"""The seams of a schedule: a pure function of progress, and for some one of what evaluations said."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from finetune_advisor.techniques.base import Technique


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What a schedule remembers of the evaluations so far.

    Attributes:
        best: the best metric yet; None before the first evaluation.
        bad_evaluations: evaluations in a row that did not improve on it.
        factor: the multiple of the peak rate that the evaluations have led to.
    """

    best: float | None = None
    bad_evaluations: int = 0
    factor: float = 1.0


class Schedule(Technique):
    """How the learning rate moves: rate = peak * `multiplier(progress)` * `state.factor`."""

    @abstractmethod
    def multiplier(self, progress: float) -> float:
        """The multiple of the peak rate when `progress`, from 0 to 1, of all steps are done."""

    def advance(self, state: ScheduleState, metric: float) -> ScheduleState:  # noqa: ARG002
        """The state after an evaluation whose metric is better when it is larger (a loss comes negated)."""
        return state


class FromPeak(Schedule):
    """A schedule that starts at its peak, and can be led up to it.

    The warmup takes its share of the steps, and the schedule itself plays over the rest.
    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD.
    """

    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all steps in which the rate rises along a line to its peak; 0 starts there."""
    warmup_from: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate that the warmup starts from."""

    def multiplier(self, progress: float) -> float:
        """A rising line up to `warmup`, then the schedule over what is left."""
        if progress < self.warmup:
            return self.warmup_from + (1 - self.warmup_from) * progress / self.warmup
        return self.after_warmup((progress - self.warmup) / (1 - self.warmup))

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """The multiple of the peak rate when `progress`, from 0 to 1, of the steps after the warmup are done."""


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
