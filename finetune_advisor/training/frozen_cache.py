"""The frozen part of a network, computed once, and the trainable part trained on its kept output.

What lies below the lowest stage that trains gives the same output in every epoch. So it is computed once for each of
the first epochs' views of an image (`strategy.cached_views`), and epoch e trains on view `e % views`: on the same
pixels as without a cache as long as there are as many views as epochs. On a CPU the frozen part runs as an inference
graph where that pays.

The rows are kept in a plain `.npy`. Its space is reserved before the first row is written: a disk that is too full says
so at once, and not by a signal when a page of the map finds no place.

Shapes: V views, N images, B images of a batch, C channels, H and W pixels, K classes; `...` are the axes of what the
frozen part's last stage returns.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.inference_graph import InferenceGraph, NoGraph, do_without, open_graph_if_worth
from finetune_advisor.backbones.stages import EnoughRead, Stage, evaluation_mode, read_stages
from finetune_advisor.backbones.tail import Tail
from finetune_advisor.errors import BackboneError
from finetune_advisor.loading.augmented import first_epochs
from finetune_advisor.loading.batches import Batch, normalize
from finetune_advisor.storage.files import atomic_path, remove_others
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.techniques.strategy import FineTuning
from finetune_advisor.text import counted
from finetune_advisor.training.data_feed import ALL, Pixels

log = logging.getLogger(__name__)

SPARE = 0.9
"""Share of the free disk space that may be used."""


class NoBoundary(Exception):
    """The frozen part is not computed ahead; the message says why."""


@dataclass(frozen=True)
class Boundary:
    """Where the network is cut, and what is kept of which images."""

    tail: Tail
    views: int
    images: Mapping[str, int]
    """Of each split that is kept: `train` in all its views, `val` as it is."""
    dtype: str
    """float16, or float32 where images are not augmented: rounding is then the only difference to no cache at all."""

    @property
    def stage(self) -> Stage:
        """The last one that is frozen."""
        return self.tail.boundary

    def shape(self, split: str) -> tuple[int, ...]:
        """Of the kept rows: views, images, and the axes of the stage's output."""
        return (self.views if split == "train" else 1, self.images[split], *self.tail.boundary_shape)

    @property
    def mib(self) -> float:
        """Disk space they take."""
        numbers = sum(math.prod(self.shape(split)) for split in self.images)
        return numbers * (2 if self.dtype == "float16" else 4) / 2**20

    def __str__(self) -> str:
        validation = f" and one of {self.images['val']:,} validation images" if "val" in self.images else ""
        return (
            f"the output of {self.stage.name}, {counted(self.views, 'view')} of {self.images['train']:,} training "
            f"images{validation}, {self.mib:,.0f} MiB in {self.dtype}: only what lies above runs in every epoch"
        )


def plan_boundary(
    backbone: Backbone,
    strategy: FineTuning,
    *,
    images: Mapping[str, int],
    epochs: int,
    augmented: bool,
    most_mib: int,
    folder: Path,
) -> Boundary:
    """Find the boundary, and check that what is kept there would fit.

    Args:
        images: of the splits that are kept.
        epochs: of the whole budget; more views than that are never looked at.
        augmented: whether an image looks different in every epoch.
        most_mib: `runtime.cache_mib`.
        folder: on the disk that would hold it; it need not exist yet.

    Raises:
        NoBoundary: nothing is to be cached, or it does not fit.
    """
    if strategy.cached_views is None:
        raise NoBoundary("strategy.cached_views is null")
    stage = boundary_stage(backbone, strategy)
    if stage is None:
        raise NoBoundary("every stage trains, so no output stays the same")
    try:
        tail = Tail(backbone.net, stage.name, stages=backbone.stages, input_size=backbone.input_size)
    except BackboneError as problem:
        raise NoBoundary(problem.message) from problem
    views = min(strategy.cached_views, epochs) if augmented else 1  # more would all be the same
    boundary = Boundary(tail, views, images, "float16" if augmented else "float32")
    if boundary.mib > most_mib:
        raise NoBoundary(f"it would take {boundary.mib:,.0f} MiB; runtime.cache_mib allows {most_mib:,}")
    free_mib = _free_mib(folder)
    if boundary.mib > SPARE * free_mib:
        raise NoBoundary(f"it would take {boundary.mib:,.0f} MiB; the disk has {free_mib:,.0f} MiB free")
    return boundary


def boundary_stage(backbone: Backbone, strategy: FineTuning) -> Stage | None:
    """The last stage below everything that ever trains; None where the first one does."""
    trained = set(strategy.trainable([stage.name for stage in backbone.stages]))
    lowest = next(index for index, stage in enumerate(backbone.stages) if stage.name in trained)
    return backbone.stages[lowest - 1] if lowest else None


def _free_mib(folder: Path) -> float:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free / 2**20


@dataclass
class FrozenPart:
    """A network up to the end of one of its stages, in evaluation mode and without gradients."""

    backbone: Backbone
    end: Stage
    preprocess: Preprocess
    precision: torch.dtype = torch.float32
    """Of the network as it is; an inference graph computes in float32."""
    graph: InferenceGraph | None = None

    @property
    def reads(self) -> str:
        """What an inference graph of it gives."""
        return f"end of {self.end.name}"

    @property
    def device(self) -> torch.device:
        return next(self.backbone.net.parameters()).device

    def readings(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """The stage's output of normalized images, by the stage's name.

        The whole network runs, because no tracer takes a pass that ends early; the graph drops what is not read.
        """
        with read_stages(self.backbone.net, [self.end]) as readings:
            self.backbone.net(x_BCHW)
        return readings

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """The stage's output (B, ...) in float32, on the CPU, of uint8 images (B, C, H, W)."""
        if self.graph is not None:
            try:
                return torch.from_numpy(self.graph(x_BCHW)[self.end.name])
            except NoGraph as reason:
                self.graph = None
                do_without(self.backbone.name, reason)
        reduced = self.precision != torch.float32
        with (
            evaluation_mode(self.backbone.net),
            torch.no_grad(),  # not inference_mode: the tail's layers keep this tensor for their gradients
            torch.autocast(self.device.type, self.precision, enabled=reduced),
        ):
            return self._read(normalize(x_BCHW.to(self.device), self.preprocess)).float().cpu()

    def _read(self, x_BCHW: Tensor) -> Tensor:
        """The pass ends at the stage."""
        net, end = self.backbone.net, self.end
        with read_stages(net, [end], stop_after=end) as readings, suppress(EnoughRead):
            net(x_BCHW)
        return readings[end.name]

    def as_graph(self, x_BCHW: Tensor, *, images: int) -> FrozenPart:
        """The same as an inference graph, where the device and so many images make that worth it.

        Args:
            x_BCHW: some images, uint8, for a comparison of graph and network.
            images: that are going to be shown to it.
        """
        if self.device.type != "cpu":
            return self
        p = self.preprocess
        graph = open_graph_if_worth(self, x_BCHW, mean=p.mean, std=p.std, images=images)
        return FrozenPart(self.backbone, self.end, p, self.precision, graph)


Rows = npt.NDArray[Any]


class TooLargeForHalf(Exception):
    """A number that float16 cannot hold."""


def open_rows(path: Path, shape: tuple[int, ...]) -> Rows | None:
    """The memory map (V, N, ...) of a whole file; None where it is not there or damaged, which is logged."""
    try:
        rows: Rows = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as problem:
        log.warning("%s is damaged and computed again: %s", path, problem)
        return None
    if rows.shape != shape:
        log.warning("%s holds %s numbers, expected %s: it is computed again", path, rows.shape, shape)
        return None
    return rows


def write_rows(path: Path, parts: Iterable[Rows], shape: tuple[int, ...], dtype: str) -> None:
    """Write a file from parts (V, B, ...) in float32 that follow each other along the images.

    Raises:
        StorageError: the disk is full or refuses; nothing is left of the file.
        TooLargeForHalf: a number does not fit `dtype`; the same.
    """
    views, images = shape[:2]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, row_bytes = file.tell(), np.dtype(dtype).itemsize * int(np.prod(shape[2:]))
        _reserve(file, start + views * images * row_bytes)
        done = 0
        for part in parts:
            for view, rows in enumerate(_converted(part, dtype)):
                file.seek(start + (view * images + done) * row_bytes)
                file.write(rows.tobytes())
            done += part.shape[1]
        assert done == images, f"{done} of {images} rows were written"


def _reserve(file: IO[bytes], size: int) -> None:
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)


def _converted(part: Rows, dtype: str) -> Rows:
    with np.errstate(over="ignore"):
        converted = part.astype(dtype)
    if np.isinf(converted).any() and np.isfinite(part).all():
        raise TooLargeForHalf
    return converted


FORMAT = 1
"""Raised when the meaning of a kept row changes."""

IMAGES_TOGETHER = 32
"""Views of images that are decoded and shown to the frozen part together."""


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
