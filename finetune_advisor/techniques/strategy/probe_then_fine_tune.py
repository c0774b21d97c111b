"""Fine-tuning that starts where a probe ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.strategy.base import TopStages


class ProbeThenFineTune(TopStages):
    """Start from the fitted linear probe, then train the last stages below it too.

    A head that already fits sends small, meaningful gradients down: the pretrained features are not bent to the noise
    of a new one.
    """

    source: ClassVar[str] = "Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features (arXiv:2202.10054)"
    not_advised: ClassVar[str] = (
        "Over 15 tasks of 5 to 80 images a class it scored 63.9 % on average, `few_layers` 67.8 % "
        "(benchmarks/results/regret.md). What it starts from is advised by itself: `head.initialization: probe`."
    )
    only: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "head.initialization.kind": ("probe", "{kind} starts from the fitted linear probe"),
    }

    kind: Literal["probe_then_fine_tune"] = "probe_then_fine_tune"
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs in which the classifier trains alone, on augmented images, before the pretrained layers join."""

    @property
    def fewest_epochs(self) -> int:
        """One more than the frozen ones."""
        return 1 + self.frozen_epochs

    def unfreezing(self, stages: Sequence[str]) -> dict[str, int]:
        """All of them together, after the frozen epochs.

        Raises:
            BackboneError: the backbone has fewer pretrained stages.
        """
        return dict.fromkeys(self.trainable(stages), self.frozen_epochs)
