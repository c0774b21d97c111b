"""Plenty of data, and time to spend on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from finetune_advisor.techniques.strategy.base import FineTuning


class AllLayers(FineTuning):
    """Train the whole pretrained network and a new classifier; nothing is frozen.

    For many images that look very different, at several times the cost of training the last stages.
    """

    source: ClassVar[str] = "Yosinski et al. 2014, How transferable are features in deep neural networks?"
    not_advised: ClassVar[str] = (
        "It is no cell of the table. Over 15 tasks of 5 to 80 images a class it scored 66.2 % on average, "
        "`few_layers` 67.8 % and `stage_probe` 71.9 % (benchmarks/results/regret.md); with more images it was not "
        "compared."
    )

    kind: Literal["all_layers"] = "all_layers"

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """All stages."""
        return tuple(stages)
