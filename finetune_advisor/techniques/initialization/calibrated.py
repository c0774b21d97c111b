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

    kind: Literal["calibrated"] = "calibrated"

    def deviation(self, inputs: int) -> float:
        """1 / sqrt(n)."""
        return 1 / math.sqrt(inputs)
