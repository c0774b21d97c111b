"""Where the images of a run come from, and how they go through the network.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from finetune_advisor.data.augmented import TrainingImages
from finetune_advisor.data.batches import Augment, Batch, BatchPlan, TrainBatches, eval_batches, normalize
from finetune_advisor.data.kept_pixels import KeptPixels
from finetune_advisor.data.sources import Sample
from finetune_advisor.errors import DataError
from finetune_advisor.techniques.preprocessing import Preprocess

ALL = slice(None)


class Feed(Protocol):
    """What the loop trains on. Inputs are rows of one tensor, whatever they hold; only a feed's `forward` knows."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """This process's part of the batches of the steps `start <= step < stop`, a pure function of the step.

        Raises:
            DataError: an image cannot be read, or a worker process died.
        """

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, K) of inputs that are on the network's device."""

    def evaluation(self, split: str, rows: slice = ALL) -> Iterator[Tensor]:
        """Inputs of these images of a split, in the order of its samples, not augmented.

        Raises:
            DataError: an image that was readable when the run began cannot be read any more.
        """


@dataclass(frozen=True)
class Pixels:
    """Every image goes through the whole network each time, decoded anew where it is not kept."""

    net: nn.Module
    preprocess: Preprocess
    augment: Augment | None
    plan: BatchPlan
    samples: Mapping[str, tuple[Sample, ...]]
    """Of each split; the plan deals those of `train`."""
    eval_batch: int
    workers: int
    kept: Mapping[str, KeptPixels] = field(default_factory=dict)
    """Decoded images of a split: of `train` as they come out of decoding, of the others what the net sees."""

    @property
    def images(self) -> TrainingImages:
        """The training images, one by one."""
        kept = self.kept.get("train")
        return TrainingImages(self.samples["train"], self.preprocess, self.augment, self.plan.seed, kept)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        return iter(
            TrainBatches(
                samples=self.samples["train"],
                plan=self.plan,
                preprocess=self.preprocess,
                augment=self.augment,
                start=start,
                stop=stop,
                workers=self.workers,
                kept=self.kept.get("train"),
            )
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits_BK: Tensor = self.net(normalize(inputs, self.preprocess))
        return logits_BK

    def evaluation(self, split: str, rows: slice = ALL) -> Generator[Tensor]:
        samples = self.samples[split][rows]
        if split in self.kept and split != "train":
            for start in range(0, len(samples), self.eval_batch):
                places = range(len(self.samples[split]))[rows][start : start + self.eval_batch]
                yield torch.from_numpy(np.stack([self.kept[split].read(place) for place in places]))
            return
        paths = [sample.path for sample in samples]
        with closing(eval_batches(paths, self.preprocess, batch=self.eval_batch, workers=self.workers)) as stream:
            for _, x_BCHW, bad in stream:
                for place, reason in bad:
                    raise DataError(
                        f"{samples[place].name} cannot be read any more: {reason}.",
                        "Restore the file and go on with --resume.",
                    )
                yield x_BCHW
