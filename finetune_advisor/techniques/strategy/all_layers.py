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

    kind: Literal["all_layers"] = "all_layers"

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """All stages."""
        return tuple(stages)
