"""Plenty of data that looks like the pretraining data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.strategy.base import FineTuning, last_stages


class FewLayers(FineTuning):
    """Train the last stages and a new classifier; everything below stays frozen.

    For plenty of images that look like those of the pretraining, whose early stages already see what matters.
    """

    source: ClassVar[str] = "slides: fine-tune (a lot of similar data: finetune a few layers)"
    advised: ClassVar[str] = "In its cell of the table: plenty of images per class that look like ImageNet."

    kind: Literal["few_layers"] = "few_layers"
    stages: Annotated[int, Field(ge=1)] = 3
    """How many of the last pretrained stages train, beside the head."""

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """The last `self.stages` pretrained stages, and the head.

        Raises:
            BackboneError: the backbone has fewer pretrained stages.
        """
        return last_stages("strategy.stages", self.stages, stages)
