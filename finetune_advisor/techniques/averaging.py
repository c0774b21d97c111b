"""`averaging:`, the mean of the weights along the way."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

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


class Ema(Averaging):
    """Average over the last steps, older ones counting less and less.

    It smooths the last steps of any schedule at no cost but memory.
    """

    source: ClassVar[str] = (
        "Polyak & Juditsky 1992; Tan & Le 2019, EfficientNet (decay 0.9999); warmup as in timm's EMA"
    )
    not_advised: ClassVar[str] = (
        "The advised schedule ends at almost no rate: the last weights hardly differ, and little is left to average; "
        "what it brings was not measured."
    )
    fits_batch_norm: ClassVar[bool] = False

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Share of the average that a step keeps: 0.999 looks back about 1,000 steps."""
    power: Annotated[float, Field(gt=0, le=1)] = 2 / 3
    """How fast the share rises to it, as 1 - (1 + step) ** -power, so that the start is forgotten."""

    def weight(self, moment: Moment) -> float:
        """Every step, by 1 - decay, but more at first: the start of training never counts for long."""
        return float(max(1 - self.decay, (1 + moment.averaged) ** -self.power))


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


AnyAveraging: TypeAlias = Annotated[Ema | Swa, Field(discriminator="kind")]

__all__ = ["AnyAveraging", "Averaging", "Ema", "Moment", "Swa"]
