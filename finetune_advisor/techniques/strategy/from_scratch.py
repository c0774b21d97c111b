"""What fine-tuning is measured against, and what is left where no pretraining fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from finetune_advisor.techniques.strategy.base import FineTuning


class FromScratch(FineTuning):
    """Train the whole network from random weights: no pretraining takes part.

    Statistics of BatchNorm follow the data: random weights bring none along.
    """

    source: ClassVar[str] = "He et al. 2019, Rethinking ImageNet Pre-training"
    not_advised: ClassVar[str] = (
        "It throws away the features that every probe of the analysis was fitted on, and needs many times the epochs; "
        "it was not compared with fine-tuning."
    )
    only: ClassVar[Mapping[str, tuple[Any, str]]] = {
        "backbone.weights": ("random", "{kind} starts from random weights: pretrained ones would be thrown away"),
        "optimizer.body_lr_ratio": (1.0, "{kind} has no pretrained layers to train more slowly than new ones"),
        "optimizer.layer_decay": (None, "{kind} has no pretrained layers to train more slowly the lower they are"),
    }

    kind: Literal["from_scratch"] = "from_scratch"
    batch_norm: Literal["train"] = "train"
    """Statistics of BatchNorm follow the data."""

    def trainable(self, stages: Sequence[str]) -> tuple[str, ...]:
        """All stages."""
        return tuple(stages)
