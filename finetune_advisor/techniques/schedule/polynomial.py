"""Decay along a line or another power of what is left."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.schedule.base import FromPeak


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
