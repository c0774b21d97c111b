"""From the classifier down, a few stages at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.strategy.base import TopStages


class GradualUnfreezing(TopStages):
    """Train the new classifier first, then more and more stages below it, from the top down.

    The last stages are the most specific ones; those below move only when what stands above them fits the new images.
    """

    source: ClassVar[str] = "Howard & Ruder 2018, Universal Language Model Fine-tuning (ULMFiT)"
    not_advised: ClassVar[str] = (
        "It is no cell of the table, and was measured on ants and bees alone: no better there than `all_layers` or a "
        "probe."
    )

    kind: Literal["gradual_unfreezing"] = "gradual_unfreezing"
    stages_per_unfreeze: Annotated[int, Field(ge=1)] = 1
    """How many stages join at a time."""
    unfreeze_every: Annotated[int, Field(ge=1)] = 1
    """Epochs from one unfreezing to the next."""

    @property
    def fewest_epochs(self) -> int:
        """One more than are done when the last stage joins; at least one stage does."""
        return 1 + self._epoch((1 if self.stages == "all" else self.stages) - 1)

    def unfreezing(self, stages: Sequence[str]) -> dict[str, int]:
        """The top stages first; pretrained layers beside the classifier join with them.

        Raises:
            BackboneError: the backbone has fewer pretrained stages.
        """
        *pretrained, head = self.trainable(stages)
        depths = reversed(range(len(pretrained)))
        return {stage: self._epoch(depth) for stage, depth in zip(pretrained, depths, strict=True)} | {
            head: self._epoch(0)
        }

    def _epoch(self, depth: int) -> int:
        """Epochs done when a stage with `depth` pretrained ones above it joins."""
        return self.unfreeze_every * (1 + depth // self.stages_per_unfreeze)
