"""Random numbers that keep the variance of a linear signal."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from finetune_advisor.techniques.initialization.base import Normal


class Calibrated(Normal):
    """Start at random numbers of deviation 1 / sqrt(n), so that n inputs give outputs of their own variance.

    Right for tanh and for a last layer; each ReLU halves the signal, which `he` makes up for.
    """

    source: ClassVar[str] = "slides: initialization (calibrating the variances: randn(n) / sqrt(n))"
    measured: ClassVar[str] = (
        "A net of 22 layers with ReLU did not learn from it in 10 epochs: 90 % error on ten classes, 3 seeds "
        "(benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "It is for layers within a network; the only new one of an advised recipe is a linear classifier, which "
        "starts from zeros or a probe."
    )

    kind: Literal["calibrated"] = "calibrated"

    def deviation(self, inputs: int) -> float:
        """1 / sqrt(n)."""
        return 1 / math.sqrt(inputs)
