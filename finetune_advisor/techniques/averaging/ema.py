"""Exponential moving average."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.averaging.base import Averaging, Moment


class Ema(Averaging):
    """Average over the last steps, older ones counting less and less.

    It smooths the last steps of any schedule at no cost but memory.
    """

    source: ClassVar[str] = (
        "Polyak & Juditsky 1992; Tan & Le 2019, EfficientNet (decay 0.9999); warmup as in timm's EMA"
    )
    not_advised: ClassVar[str] = (
        "The advised schedule ends at almost no rate: the last weights hardly differ, and little is left to average; "
        "what it brings was not measured."
    )
    fits_batch_norm: ClassVar[bool] = False

    kind: Literal["ema"] = "ema"
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Share of the average that a step keeps: 0.999 looks back about 1,000 steps."""
    power: Annotated[float, Field(gt=0, le=1)] = 2 / 3
    """How fast the share rises to it, as 1 - (1 + step) ** -power, so that the start is forgotten."""

    def weight(self, moment: Moment) -> float:
        """Every step, by 1 - decay, but more at first: the start of training never counts for long."""
        return float(max(1 - self.decay, (1 + moment.averaged) ** -self.power))
