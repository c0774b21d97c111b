"""Cosine decay after a linear warmup."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.schedule.base import Schedule


class Cosine(Schedule):
    """Warm up along a line, then fall along half a cosine."""

    source: ClassVar[str] = "Loshchilov & Hutter 2017, SGDR; Goyal et al. 2017, Accurate, Large Minibatch SGD (warmup)"

    kind: Literal["cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of all steps in which the rate rises from 0 to its peak."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Multiple of the peak rate at the end."""

    def multiplier(self, progress: float) -> float:
        """A rising line up to `warmup`, then half a cosine from 1 to `floor`."""
        if progress < self.warmup:
            return progress / self.warmup
        fall = (progress - self.warmup) / (1 - self.warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * fall)) / 2
