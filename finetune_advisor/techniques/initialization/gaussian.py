"""Small random numbers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Normal


class Gaussian(Normal):
    """Start at small random numbers around zero, the same size whatever the layer.

    Through many layers such numbers let the signal vanish; for one new layer they do.
    """

    source: ClassVar[str] = "slides: initialization (small random numbers: weights ~ 0.001 x N(0, 1))"
    measured: ClassVar[str] = (
        "Through ten layers of 512 units 0.001 N(0, 1) leaves 3.6e-36 of the signal's variance "
        "(benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "The only new layer of an advised recipe is a linear classifier, which zeros start as well, whatever the seed."
    )

    kind: Literal["gaussian"] = "gaussian"
    std: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Standard deviation of the weights."""

    def deviation(self, inputs: int) -> float:  # noqa: ARG002
        """Always `std`."""
        return self.std
