"""Random numbers that keep the signal through ReLUs."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from finetune_advisor.techniques.initialization.base import Normal


class He(Normal):
    """Start at random numbers of deviation sqrt(2 / n): a ReLU halves the signal, and this doubles it.

    Right for layers that a ReLU follows, and the choice for networks that train from random weights.
    """

    source: ClassVar[str] = (
        "slides: initialization (current recommendation: randn(n) * sqrt(2.0 / n)); "
        "He et al. 2015, Delving Deep into Rectifiers"
    )
    measured: ClassVar[str] = (
        "A net of 22 layers with ReLU fell to 66 % error on ten classes in 10 epochs, 3 seeds, and stayed at 90 % "
        "from 1/sqrt(n) (benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = "The advice never trains from random weights; where you do, take it."

    kind: Literal["he"] = "he"

    def deviation(self, inputs: int) -> float:
        """sqrt(2 / n)."""
        return math.sqrt(2 / inputs)
