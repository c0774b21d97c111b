"""How long a short run takes, from steps that were timed, and how much fits into a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Literal

from finetune_advisor.data.plan import BatchPlan

LEAST_EPOCHS = 2
"""Fewer would compare beginnings; rather than that, a run gets fewer images."""

HALVINGS = 12
"""Steps of the bisection over the number of images."""

Event = Literal["start", "step", "record", "end"]
Mark = tuple[Event, float]
"""What happened in a run, and when, in seconds."""


@dataclass(frozen=True, order=True)
class Effort:
    """What a short run is given. More images come before more epochs, which nothing is without."""

    images: int
    """To learn from, validation images among them."""
    epochs: int


@dataclass(frozen=True)
class Pace:
    """Seconds of the parts of one recipe's runs; a probe is all `start`."""

    start: float
    """To the end of the first step."""
    step: float = 0.0
    record: float = 0.0
    """To evaluate and to save after an epoch, as timed on few images."""
    end: float = 0.0
    """To score and to write the results, as timed on few images."""
    batch: int = 1
    validation: float = 0.0
    epochs: int = 0
    """More than these no run needs."""

    @staticmethod
    def of(marks: Sequence[Mark], *, batch: int, validation: float, epochs: int) -> Pace:
        """Read off a run whose events were timed; it has at least two steps and a record."""
        gaps = [(event, later - earlier) for (_, earlier), (event, later) in pairwise(marks)]
        first = next(place for place, (event, _) in enumerate(gaps) if event == "step")
        return Pace(
            start=sum(seconds for _, seconds in gaps[: first + 1]),
            step=fmean(seconds for event, seconds in gaps[first + 1 :] if event == "step"),
            record=fmean(seconds for event, seconds in gaps if event == "record"),
            end=next(seconds for event, seconds in gaps if event == "end"),
            batch=batch,
            validation=validation,
            epochs=epochs,
        )

    def epochs_of(self, effort: Effort) -> int:
        return min(effort.epochs, self.epochs)

    def seconds(self, effort: Effort, judged: int) -> float:
        """Of a run, rather too long than too short: evaluating an image is counted like training on it."""
        validating = round(self.validation * effort.images)
        training = max(1, effort.images - validating)
        each = self.step / self.batch
        epoch = BatchPlan(training, self.batch, 0).steps_per_epoch * self.step + self.record + validating * each
        return self.start + self.epochs_of(effort) * epoch + self.ending(effort, judged)

    def ending(self, effort: Effort, judged: int) -> float:
        """From the last step to the results."""
        each = self.step / self.batch
        return self.record + self.end + (2 * self.validation * effort.images + judged) * each


def largest(paces: Sequence[Pace], seconds: float, *, images: int, least: int, judges: float) -> Effort | None:
    """The largest effort that one run of each pace can make in a time; None where not even the least fits.

    All images are worth more than many epochs, down to `LEAST_EPOCHS`.

    Args:
        paces: of the runs, which follow each other.
        seconds: for all of them together.
        images: that can be learned from.
        least: fewer images say nothing.
        judges: images to judge on for each image to learn from.
    """
    most = max(pace.epochs for pace in paces)

    def fits(count: int, epochs: int) -> bool:
        effort = Effort(count, epochs)
        return sum(pace.seconds(effort, round(judges * count)) for pace in paces) <= seconds

    for epochs in range(most, min(LEAST_EPOCHS, most) - 1, -1):
        if fits(images, epochs):
            return Effort(images, epochs)
    low, high, epochs = min(least, images), images, min(LEAST_EPOCHS, most)
    if not fits(low, epochs):
        return None
    for _ in range(HALVINGS):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle, epochs) else (low, middle)
    return Effort(low, epochs)
