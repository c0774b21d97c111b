"""Images on disk become batches for a network, decoded in worker processes ahead of their use.

Shapes: B images of a batch, C channels (3), H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finetune_advisor.images.sources import Sample
from finetune_advisor.loading.augmented import Augment, KeptPixels, TrainingImages, Unreadable, eval_views
from finetune_advisor.loading.order import BatchPlan, image_rng
from finetune_advisor.loading.workers import ahead
from finetune_advisor.techniques.preprocessing import Preprocess


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """The same on the device; to a GPU only pinned memory travels while the CPU goes on."""
    travels = device.type == "cuda" and tensor.device.type == "cpu"
    return (tensor.pin_memory() if travels else tensor).to(device, non_blocking=True)


__all__ = [
    "Augment",
    "Batch",
    "BatchPlan",
    "EvalBatch",
    "TrainBatches",
    "eval_batches",
    "image_rng",
    "normalize",
]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Batch:
    """The images of one training step, or a part of them.

    Attributes:
        step: number of the step since the start of training, from 0.
        epoch: number of the epoch it belongs to, from 0.
        inputs: what goes into the network, a row per image: pixels (B, C, H, W), uint8, not normalized, or what a
            frozen stage made of them.
        labels_B: class indices, int64.
        names: the samples' names.
        whole: images of the whole step, over all its parts and all processes; what a mean divides by.
        mixed_BK: where images are mixed, how much of each belongs to which class.
    """

    step: int
    epoch: int
    inputs: torch.Tensor
    labels_B: torch.Tensor
    names: tuple[str, ...]
    whole: int
    mixed_BK: torch.Tensor | None = None

    @property
    def target(self) -> torch.Tensor:
        """What the network is to answer: class indices (B,), or shares of the classes (B, K)."""
        return self.labels_B if self.mixed_BK is None else self.mixed_BK

    def on(self, device: torch.device) -> Batch:
        """The same on a device."""
        return replace(self, inputs=sent_to(device, self.inputs), labels_B=sent_to(device, self.labels_B))

    def parts(self, size: int) -> Generator[Batch]:
        """The same images in parts of equal size, at most `size`; a batch without images is its own only part."""
        images, count = len(self.names), max(1, math.ceil(len(self.names) / size))
        for number in range(count):
            rows = slice(images * number // count, images * (number + 1) // count)
            yield replace(
                self,
                inputs=self.inputs[rows],
                labels_B=self.labels_B[rows],
                names=self.names[rows],
                mixed_BK=None if self.mixed_BK is None else self.mixed_BK[rows],
            )


class EvalBatch(NamedTuple):
    """Images in the order they were given.

    Attributes:
        index_B: position of each image in the sequence of paths, int64.
        x_BCHW: pixels of those that could be read, uint8, not normalized; B may be 0.
        bad: position of each image that could not be read, and the reason.
    """

    index_B: npt.NDArray[np.int64]
    x_BCHW: torch.Tensor
    bad: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class TrainBatches:
    """The batches of the steps `start <= step < stop`; iterating again gives the same ones again.

    The pixels are a pure function of the samples, the plan and the step, whatever the number of workers.
    Workers live from the first batch to the last, across epochs. Closing the iterator ends them.

    Attributes:
        samples: the training images; the plan's indices point into them.
        plan: which images each step gets.
        preprocess: the net's input.
        augment: changes each image before it is fitted to the input, or None. Where processes are spawned and not
            forked (macOS, Windows), it has to be picklable.
        start: first step.
        stop: step to stop before.
        workers: processes that decode ahead; 0 decodes in this process.
        kept: the first images' pixels as they come out of decoding, which are then not decoded again.
    """

    samples: Sequence[Sample]
    plan: BatchPlan
    preprocess: Preprocess
    augment: Augment | None
    start: int
    stop: int
    workers: int
    kept: KeptPixels | None = None

    def __post_init__(self) -> None:
        assert len(self.samples) == self.plan.images, (len(self.samples), self.plan.images)

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Generator[Batch]:
        """Yield this process's part of the batches, in order.

        Raises:
            DataError: an image cannot be read, or a worker process died.
        """
        steps = range(self.start, self.stop)
        with closing(ahead(self._make, steps, workers=self.workers)) as stream:
            for made in stream:
                if isinstance(made, Unreadable):
                    raise made.error()
                yield Batch(
                    step=made.step,
                    epoch=self.plan.epoch(made.step),
                    inputs=torch.from_numpy(made.pixels_BCHW),
                    labels_B=torch.from_numpy(made.labels_B),
                    names=made.names,
                    whole=self.plan.size(made.step),
                )

    def _make(self, step: int) -> _Made | Unreadable:
        indices_B = self.plan.indices(step).tolist()
        images = TrainingImages(self.samples, self.preprocess, self.augment, self.plan.seed, self.kept)
        seen = images.batch(indices_B, [self.plan.epoch(step)])
        if isinstance(seen, Unreadable):
            return seen
        samples = [self.samples[index] for index in indices_B]
        labels_B = np.array([sample.label for sample in samples], np.int64)
        return _Made(step, seen[0], labels_B, tuple(sample.name for sample in samples))


def eval_batches(
    paths: Sequence[str | Path], preprocess: Preprocess, *, batch: int, workers: int
) -> Generator[EvalBatch]:
    """Decode every image once, in order, ahead of the consumer; bad images are named instead of raised.

    Each batch covers the next `batch` paths, so one with bad images among them is smaller.

    Args:
        batch: paths per batch.
        workers: processes that decode ahead; 0 decodes in this process.

    Raises:
        DataError: a worker process died.
    """
    with closing(eval_views(paths, [preprocess], batch=batch, workers=workers)) as stream:
        for index_B, pixels, _, bad in stream:
            yield EvalBatch(index_B, pixels[preprocess], [(image.place, image.reason) for image in bad])


def normalize(x_BCHW: torch.Tensor, p: Preprocess) -> torch.Tensor:
    """Pixels (0..255) to a net's input, (x / 255 - mean) / std: float32, channels_last, on the same device."""
    scale_C, shift_C = _scale_and_shift(p.mean, p.std, x_BCHW.device)
    x_BCHW = x_BCHW.to(dtype=torch.float32, memory_format=torch.channels_last, copy=True)
    return x_BCHW.mul_(scale_C).sub_(shift_C)


@lru_cache(maxsize=16)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Kept on the device: to send them with every batch would make the CPU wait for the GPU every time."""
    with torch.inference_mode(False):
        mean_C, std_C = torch.tensor(mean), torch.tensor(std)
        scale_C, shift_C = 1 / (255 * std_C), mean_C / std_C
        return scale_C.view(1, 3, 1, 1).to(device), shift_C.view(1, 3, 1, 1).to(device)


class _Made(NamedTuple):
    step: int
    pixels_BCHW: Pixels
    labels_B: npt.NDArray[np.int64]
    names: tuple[str, ...]
