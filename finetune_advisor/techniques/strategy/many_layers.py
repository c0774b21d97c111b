"""Plenty of data that looks different from the pretraining data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.strategy.base import FineTuning, check_count


class ManyLayers(FineTuning):
    """Train most of the network and a new classifier; only the first stages stay frozen.

    For plenty of images that look different: only what sees edges and colors is still of use as it is.
    """

    source: ClassVar[str] = "slides: fine-tune (a lot of different data: finetune a large number of layers)"
    advised: ClassVar[str] = "In its cell of the table: plenty of images per class that look different."

    kind: Literal["many_layers"] = "many_layers"
    frozen_stages: Annotated[int, Field(ge=0)] = 2
    """How many of the first stages stay frozen."""

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """All stages but the first `self.frozen_stages`; the head always.

        Raises:
            BackboneError: the backbone has fewer pretrained stages.
        """
        check_count("strategy.frozen_stages", self.frozen_stages, stages[:-1])
        return tuple(stages[self.frozen_stages :])
