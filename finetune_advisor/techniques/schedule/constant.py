"""No schedule."""

from __future__ import annotations

from typing import ClassVar, Literal

from finetune_advisor.techniques.schedule.base import FromPeak


class Constant(FromPeak):
    """Keep the learning rate where it is.

    For short runs, and as the base of an average of the weights.
    """

    source: ClassVar[str] = "slides: during training (a typical learning rate)"
    not_advised: ClassVar[str] = (
        "The length of an advised training is known, and a rate that falls settles better at its end."
    )

    kind: Literal["constant"] = "constant"

    def after_warmup(self, progress: float) -> float:  # noqa: ARG002
        """Always 1."""
        return 1.0
