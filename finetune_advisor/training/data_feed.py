"""Where the images of a run come from, how they are mixed, and how they go through the network.

Mixing takes neighbors in the batch as partners: the first image with the second, the third with the fourth. The order
of an epoch is drawn by lot, so partners are as well. Every process gets whole pairs, and mixes them before the batch is
cut into parts, so a step is the same however it is divided.

Shapes: B images of a batch, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune_advisor import processes
from finetune_advisor.errors import DataError, StorageError
from finetune_advisor.images.sources import Sample
from finetune_advisor.loading.augmented import KeptPixels, TrainingImages, decoded_pixels, keep, open_kept
from finetune_advisor.loading.augmented import Pixels as KeptImage
from finetune_advisor.loading.batches import Augment, Batch, BatchPlan, TrainBatches, eval_batches, normalize
from finetune_advisor.loading.order import mixing_rng
from finetune_advisor.storage.files import remove_others
from finetune_advisor.techniques.mixing import Mixing
from finetune_advisor.techniques.preprocessing import Preprocess

log = logging.getLogger(__name__)

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


FORMAT = 3
"""Raised when the meaning of what is kept changes."""


Progress = Callable[[int, int], None]


def decoded_once(pixels: Pixels, folder: Path, *, key: str, most_mib: int, progress: Progress) -> Pixels:
    """The same feed, bit by bit, with its images kept in a folder as far as there is room.

    Images of validation come first: as the network sees them they are small. The main process writes; another one on
    a machine with a disk of its own finds nothing there, and goes on decoding.

    Args:
        folder: of this run alone.
        key: says what is kept beside this feed's settings: the images' contents.
        most_mib: room for all files together.
        progress: told about (images done, images to do).

    Raises:
        DataError: an image cannot be read any more, or a worker process died.
    """
    splits = [split for split in ("val", "train") if pixels.samples[split]]
    paths = {split: folder / f"{split}-{_digest(pixels, split, key)}.pixels" for split in splits}
    if processes.is_main():
        remove_others(folder, "*.pixels", keep=paths.values())
        try:
            _write(pixels, paths, most_mib=most_mib, progress=progress)
        except StorageError as problem:
            log.warning("decoded images are not kept, every epoch decodes them: %s", problem.message)
    processes.barrier()
    found = {split: open_kept(path) for split, path in paths.items() if path.is_file()}
    return replace(pixels, kept={split: kept for split, kept in found.items() if kept is not None})


def in_words(pixels: Pixels) -> str:
    """What is kept, for a person."""
    if not pixels.kept:
        return "images are decoded anew"
    images, mib = sum(map(len, pixels.kept.values())), sum(kept.mib for kept in pixels.kept.values())
    total = sum(len(pixels.samples[split]) for split in ("train", "val"))
    return f"{images:,} of {total:,} images stay decoded ({mib:,.0f} MiB)"


def _write(pixels: Pixels, paths: Mapping[str, Path], *, most_mib: float, progress: Progress) -> None:
    todo: Mapping[str, Callable[[], Generator[KeptImage]]] = {
        "val": lambda: _evaluated(pixels),
        "train": lambda: decoded_pixels(pixels.images, workers=pixels.workers),
    }
    images = {split: len(pixels.samples[split]) for split in paths}
    done = 0
    for split, path in paths.items():
        made, kept = todo[split], open_kept(path)
        if kept is None and (split == "train" or _val_mib(pixels) <= most_mib):
            with closing(made()) as stream:
                kept = keep(path, _told(stream, progress, done, sum(images.values())), most_mib=most_mib)
        done += images[split]
        most_mib -= kept.mib if kept is not None else 0


def _val_mib(pixels: Pixels) -> float:
    return 3 * pixels.preprocess.size**2 * len(pixels.samples["val"]) / 2**20


def _evaluated(pixels: Pixels) -> Generator[KeptImage]:
    """Validation images one by one, as the network sees them (C, H, W)."""
    with closing(pixels.evaluation("val")) as stream:
        for x_BCHW in stream:
            yield from x_BCHW.numpy()


def _told(stream: Iterator[KeptImage], progress: Progress, before: int, total: int) -> Generator[KeptImage]:
    for number, image in enumerate(stream, start=before + 1):
        yield image
        progress(number, total)


def _digest(pixels: Pixels, split: str, key: str) -> str:
    return hashlib.blake2b(repr((FORMAT, split, pixels.preprocess.key(), key)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class PairMixing:
    """A recipe's mixing, with what it needs to know of the run."""

    technique: Mixing
    classes: int
    seed: int

    def __call__(self, batch: Batch) -> Batch:
        """This process's images of a step with the next one mixed in, and the classes they are made of."""
        rng = mixing_rng(self.seed, batch.step)
        drawn = self.technique.drawn_share(rng)
        partner_B = partners(len(batch.names)).to(batch.inputs.device)
        inputs, share = self.technique.mix(batch.inputs, batch.inputs[partner_B], drawn, rng)
        own_BK = functional.one_hot(batch.labels_B, self.classes).float()
        return replace(batch, inputs=inputs, mixed_BK=own_BK[partner_B].lerp(own_BK, share))


def partners(images: int) -> Tensor:
    """The place of each image's partner (B,); one that is left over takes the image before it, or itself if alone."""
    partner_B = torch.arange(images) ^ 1
    return partner_B if images % 2 == 0 else partner_B.clamp(max=images - 2).clamp(min=0)


def recognized(logits_BK: Tensor, batch: Batch) -> Tensor:
    """The number of images whose class the network says; of a mixed one, the share of the class that it says."""
    answer_B = logits_BK.argmax(dim=1)
    if batch.mixed_BK is None:
        return (answer_B == batch.labels_B).sum()
    return batch.mixed_BK.gather(1, answer_B[:, None]).sum()
