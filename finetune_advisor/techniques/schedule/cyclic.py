"""The same fall several times."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.schedule.base import Schedule, half_cosine


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
