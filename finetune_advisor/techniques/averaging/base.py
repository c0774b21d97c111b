"""The seams of averaging: how much of the network goes into the average, and what that asks of the rate."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from finetune_advisor.techniques.base import Technique


@dataclass(frozen=True, slots=True)
class Moment:
    """Where training is after a step.

    Attributes:
        progress: share of all steps that are done.
        evaluates: whether an evaluation follows, as after every epoch.
        averaged: how often the network has gone into the average before.
    """

    progress: float
    evaluates: bool
    averaged: int


class Averaging(Technique):
    """Judging and keeping an average of the weights along the way instead of the last ones."""

    fits_batch_norm: ClassVar[bool]
    """Whether BatchNorm statistics that follow the data are measured again for the average, rather than averaged."""

    @abstractmethod
    def weight(self, moment: Moment) -> float:
        """The share of the network in `average <- average + share * (network - average)`; 0 leaves it alone.

        The first network that goes in has a share of 1.
        """

    def multiplier(self, progress: float, scheduled: float) -> float:  # noqa: ARG002
        """The multiple of the peak rate, given the one that the schedule says."""
        return scheduled
