"""One rise and one fall."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.schedule.base import Schedule, half_cosine


class OneCycle(Schedule):
    """Rise from a low rate to the peak and fall to almost nothing, both along half a cosine.

    For fine-tuning of known length: the low start spares pretrained layers the gradients of a new head.
    """

    source: ClassVar[str] = "Smith & Topin 2018, Super-Convergence"
    advised: ClassVar[str] = (
        "Wherever layers are trained: the length of an advised training is known, and the low start spares pretrained "
        "layers."
    )

    kind: Literal["one_cycle"] = "one_cycle"
    peak_at: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of all steps after which the rate is at its peak."""
    start_factor: Annotated[float, Field(gt=0, le=1)] = 1 / 25
    """Multiple of the peak rate at the start."""
    end_factor: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """Multiple of the peak rate at the end."""

    def multiplier(self, progress: float) -> float:
        """Half a cosine from `start_factor` to 1, then half a cosine from 1 to `end_factor`."""
        if progress < self.peak_at:
            return half_cosine(self.start_factor, 1.0, progress / self.peak_at)
        return half_cosine(1.0, self.end_factor, (progress - self.peak_at) / (1 - self.peak_at))
