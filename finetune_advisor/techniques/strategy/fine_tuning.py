"""Strategies that train layers, for plenty of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.strategy.base import FineTuning, TopStages, check_count, last_stages


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
