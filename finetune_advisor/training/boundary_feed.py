"""The second feed: the tail of the network, trained on the kept output of the frozen part.

Shapes: V views, N images, B images of a batch, C channels, H and W pixels, K classes; `...` are the axes of the
boundary stage's output.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from finetune_advisor.artifacts.storage import remove_others
from finetune_advisor.data.augmented import first_epochs
from finetune_advisor.data.batches import Batch
from finetune_advisor.training.boundary import Boundary
from finetune_advisor.training.feed import ALL, Pixels
from finetune_advisor.training.frozen_part import FrozenPart
from finetune_advisor.training.row_file import Rows, TooLargeForHalf, open_rows, write_rows

FORMAT = 1
"""Raised when the meaning of a kept row changes."""

IMAGES_TOGETHER = 32
"""Views of images that are decoded and shown to the frozen part together."""

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FromBoundary:
    """Rows come from memory maps where they are kept, else from the frozen part at the moment they are asked for."""

    boundary: Boundary
    frozen: FrozenPart
    pixels: Pixels
    rows: Mapping[str, Rows]
    """Split -> (V, N, ...); training needs `train`."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        rows, plan, samples = self.rows["train"], self.pixels.plan, self.pixels.samples["train"]
        for step in range(start, stop):
            epoch, indices_B = plan.epoch(step), plan.indices(step)
            chosen = [samples[index] for index in indices_B]
            inputs = torch.from_numpy(rows[epoch % len(rows)][indices_B])
            labels_B = torch.tensor([sample.label for sample in chosen], dtype=torch.int64)
            yield Batch(step, epoch, inputs, labels_B, tuple(sample.name for sample in chosen), plan.size(step))

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs.float()
        if self.boundary.stage.layout == "NCHW":
            x = x.contiguous(memory_format=torch.channels_last)
        logits_BK: Tensor = self.boundary.tail(x)
        return logits_BK

    def evaluation(self, split: str, rows: slice = ALL) -> Generator[Tensor]:
        if split in self.rows and split != "train":
            kept, size = self.rows[split][0][rows], self.pixels.eval_batch
            for start in range(0, len(kept), size):
                yield torch.from_numpy(np.array(kept[start : start + size]))
        else:
            with closing(self.pixels.evaluation(split, rows)) as stream:
                for x_BCHW in stream:
                    yield self.frozen(x_BCHW)

    def accelerated(self) -> FromBoundary:
        """The same with a frozen part that runs the fastest way there is, for as many images as it will see."""
        with closing(replace(self.pixels, workers=0).evaluation("train")) as stream:
            some_BCHW = next(stream)
        kept = sum(math.prod(self.boundary.shape(split)[:2]) for split in self.boundary.images)
        return replace(self, frozen=self.frozen.as_graph(some_BCHW, images=kept))

    def kept_in(self, folder: Path, *, key: str, progress: Progress) -> FromBoundary:
        """The same with its rows on the disk: found there, or computed now.

        The same images in the same surroundings give the same bits: a file that is missing or damaged costs only time.

        Args:
            folder: of this run alone; files with another key are removed from it.
            key: says what the rows depend on beside this feed's settings: the images' contents.
            progress: told about (views done, views to do).

        Raises:
            DataError: an image cannot be read any more, or a worker process died.
            StorageError: the disk is full or refuses.
        """
        paths = {split: folder / f"{split}-{self._digest(key)}.npy" for split in self.boundary.images}
        remove_others(folder, "*.npy", keep=paths.values())
        rows = {split: open_rows(path, self.boundary.shape(split)) for split, path in paths.items()}
        missing = {split: math.prod(self.boundary.shape(split)[:2]) for split, found in rows.items() if found is None}
        before = 0
        for split, views in missing.items():
            self._write(split, paths[split], partial(_report, progress, before, sum(missing.values())))
            before += views
        found = {split: np.load(path, mmap_mode="r") for split, path in paths.items()}
        return replace(self, rows=found)

    def _write(self, split: str, path: Path, progress: Callable[[int], None]) -> None:
        for dtype in dict.fromkeys((self.boundary.dtype, "float32")):
            try:
                with closing(self._computed(split, progress)) as parts:
                    write_rows(path, parts, self.boundary.shape(split), dtype)
                return
            except TooLargeForHalf:
                log.warning("some output of %s does not fit half precision: kept in float32", self.boundary.stage.name)

    def _computed(self, split: str, progress: Callable[[int], None]) -> Generator[Rows]:
        """The frozen part's output of all images of a split, in parts (V, B, ...)."""
        done = 0
        with closing(self._seen(split)) as stream:
            for x_VBCHW in stream:
                views, images = x_VBCHW.shape[:2]
                output = self.frozen(x_VBCHW.flatten(0, 1))
                yield output.view(views, images, *output.shape[1:]).numpy()
                done += views * images
                progress(done)

    def _seen(self, split: str) -> Generator[Tensor]:
        if split == "train":
            views, workers = self.boundary.views, self.pixels.workers
            together = max(1, IMAGES_TOGETHER // views)
            yield from first_epochs(self.pixels.images, views, batch=together, workers=workers)
        else:
            for x_BCHW in self.pixels.evaluation(split):
                yield x_BCHW[None]

    def _digest(self, key: str) -> str:
        boundary, pixels, backbone = self.boundary, self.pixels, self.frozen.backbone
        settings = (
            repr(backbone.variant.activation),
            boundary.stage.name,
            boundary.views,
            boundary.dtype,
            str(self.frozen.precision),
        )
        seen = (pixels.preprocess.key(), repr(pixels.augment), pixels.plan.seed, pixels.eval_batch)
        text = repr((FORMAT, backbone.weights.digest, settings, seen, key))
        return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def key_of(digests: Mapping[str, Sequence[str]]) -> str:
    """A key from the contents of the images of each split, in their order."""
    text = repr([(split, list(some)) for split, some in digests.items()])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)
