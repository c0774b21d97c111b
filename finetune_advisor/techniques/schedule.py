"""`schedule:`, the learning rate as a pure function of progress, and for some of what evaluations found."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator

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


class Constant(FromPeak):
    """Keep the learning rate where it is.

    For short runs, and as the base of an average of the weights.
    """

    source: ClassVar[str] = "slides: during training (a typical learning rate)"
    not_advised: ClassVar[str] = (
        "The length of an advised training is known, and a rate that falls settles better at its end."
    )

    kind: Literal["constant"] = "constant"

    def after_warmup(self, progress: float) -> float:  # noqa: ARG002
        """Always 1."""
        return 1.0


class Cosine(FromPeak):
    """Fall along half a cosine.

    For training from the peak on, where its length is known.
    """

    source: ClassVar[str] = "Loshchilov & Hutter 2017, SGDR; Goyal et al. 2017, Accurate, Large Minibatch SGD (warmup)"
    not_advised: ClassVar[str] = "It is `one_cycle` with a shorter rise; the two were not compared."

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of all steps in which the rate rises along a line to its peak; 0 starts there."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate at the end."""

    def after_warmup(self, progress: float) -> float:
        """Half a cosine from 1 to `floor`."""
        return half_cosine(1.0, self.floor, progress)


class OneCycle(Schedule):
    """Rise from a low rate to the peak and fall to almost nothing, both along half a cosine.

    For fine-tuning of known length: the low start spares pretrained layers the gradients of a new head.
    """

    source: ClassVar[str] = "Smith & Topin 2018, Super-Convergence"
    advised: ClassVar[str] = (
        "Wherever layers are trained: the length of an advised training is known, and the low start spares pretrained "
        "layers."
    )

    kind: Literal["one_cycle"] = "one_cycle"
    peak_at: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of all steps after which the rate is at its peak."""
    start_factor: Annotated[float, Field(gt=0, le=1)] = 1 / 25
    """Multiple of the peak rate at the start."""
    end_factor: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """Multiple of the peak rate at the end."""

    def multiplier(self, progress: float) -> float:
        """Half a cosine from `start_factor` to 1, then half a cosine from 1 to `end_factor`."""
        if progress < self.peak_at:
            return half_cosine(self.start_factor, 1.0, progress / self.peak_at)
        return half_cosine(1.0, self.end_factor, (progress - self.peak_at) / (1 - self.peak_at))


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


class Polynomial(FromPeak):
    """Fall with a power of the share of steps that is left; along a line when that power is 1.

    For training of known length; the line is common for transformers.
    """

    source: ClassVar[str] = "Chen et al. 2017, DeepLab (power 0.9); Devlin et al. 2019, BERT (a line after a warmup)"
    not_advised: ClassVar[str] = "It falls as `one_cycle` does, along another curve; the two were not compared."

    kind: Literal["polynomial"] = "polynomial"
    power: Annotated[float, Field(gt=0)] = 1.0
    """1 is a line; more falls early, less falls late."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate at the end."""

    def after_warmup(self, progress: float) -> float:
        """The power of what is left, from 1 to `floor`."""
        return float(self.floor + (1 - self.floor) * (1 - progress) ** self.power)


class Cyclic(Schedule):
    """Fall to a low rate several times, so that the network settles at the end of each cycle.

    For an ensemble of the networks at the ends of the cycles, and for training whose length is not settled.
    """

    source: ClassVar[str] = (
        "Huang et al. 2017, Snapshot Ensembles; Loshchilov & Hutter 2017, SGDR; Smith 2017, Cyclical Learning Rates"
    )
    not_advised: ClassVar[str] = (
        "Every cycle needs training of its own, and advised training is short; an ensemble of checkpoints was not "
        "sure to gain."
    )

    kind: Literal["cyclic"] = "cyclic"
    cycles: Annotated[int, Field(ge=1)] = 4
    """How many, all of the same length."""
    shape: Literal["cosine", "line"] = "cosine"
    """What rise and fall look like."""
    rise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a cycle in which the rate rises: 0 restarts at the peak, 0.5 is a triangle."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate at the end of a cycle."""

    def multiplier(self, progress: float) -> float:
        """From `floor` up to 1 in the first `rise` of a cycle, then down to `floor`."""
        done = progress * self.cycles
        inside = done - min(int(done), self.cycles - 1)
        if inside < self.rise:
            return self._between(self.floor, 1.0, inside / self.rise)
        return self._between(1.0, self.floor, (inside - self.rise) / (1 - self.rise))

    def _between(self, start: float, end: float, progress: float) -> float:
        return half_cosine(start, end, progress) if self.shape == "cosine" else start + (end - start) * progress


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


AnySchedule: TypeAlias = Annotated[
    Constant | Cosine | OneCycle | Polynomial | Step | Cyclic | Plateau, Field(discriminator="kind")
]

__all__ = [
    "AnySchedule",
    "Constant",
    "Cosine",
    "Cyclic",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "ScheduleState",
    "Step",
]
