"""Several moments of one run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.ensembling.base import Ensembling, Members


class Checkpoints(Ensembling):
    """Average the answers of one run at several moments: at the ends of its cycles, or evenly over its last part.

    For the gain of an ensemble at the cost of one training, best with a `cyclic` schedule.
    """

    source: ClassVar[str] = (
        "slides: ensemble (different checkpoints of a single model); Huang et al. 2017, Snapshot Ensembles; "
        "Garipov et al. 2018, Fast Geometric Ensembling"
    )
    measured: ClassVar[str] = (
        "Two moments of `few_layers`, six pairs of data set and split: +0.4 points [-0.4, +1.2] over the best "
        "member (benchmarks/results/ensembles.md)."
    )
    not_advised: ClassVar[str] = "It doubles the time of every answer, or more, for a gain that was not sure."
    convex_too: ClassVar[bool] = False
    takes_refitted: ClassVar[bool] = False

    kind: Literal["checkpoints"] = "checkpoints"
    members: Members = 4
    """How many moments; of a cyclic rate the ends of the last so many cycles."""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the run before the first moment, where the rate is not cyclic."""
    weights: Literal["equal", "greedy"] = "equal"
    """equal: all count the same; greedy: as held-out images say."""

    def snapshots(self, evaluations: int, cycles: int | None) -> frozenset[int]:
        """The evaluation nearest to each moment."""
        if cycles is not None:
            moments = [number / cycles for number in range(max(1, cycles - self.members + 1), cycles + 1)]
        else:
            part = (1 - self.start) / self.members
            moments = [self.start + part * number for number in range(1, self.members + 1)]
        return frozenset(max(1, round(moment * evaluations)) for moment in moments)
