"""The seams of a schedule: a pure function of progress, and for some one of what evaluations said."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

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
