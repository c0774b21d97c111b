"""Training images as the network sees them: decoded once, augmented for one epoch or for several.

Shapes: N images; each has axes of its own, such as (height, width, 3), B images of a batch, C channels (3), H height,
W width, V epochs, B images.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from finetune_advisor.errors import DataError, UnopenedFile, UnreadableImage
from finetune_advisor.images.decode import max_pixels, read_image, read_image_for, to_array
from finetune_advisor.images.sources import Sample
from finetune_advisor.images.thumbnails import DETAIL, Looks, color_thumbnail, looks_of, thumbnail
from finetune_advisor.loading.fit import fit_image, resized_side
from finetune_advisor.loading.order import image_rng
from finetune_advisor.loading.workers import ahead
from finetune_advisor.storage.files import atomic_path
from finetune_advisor.techniques.preprocessing import Preprocess

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class KeptPixels:
    """The first images of a sequence: as many as there was room for."""

    path: Path
    shape_N3: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shape_N3)

    @property
    def mib(self) -> float:
        """Room that they take."""
        return float(self.shape_N3.prod(axis=1).sum() / 2**20)

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """Where each image ends in the file."""
        ends: npt.NDArray[np.int64] = self.shape_N3.prod(axis=1).cumsum()
        return ends

    def read(self, index: int) -> Pixels:
        """One image; its pixels are a copy that may be changed."""
        end, shape = int(self._ends[index]), tuple(self.shape_N3[index].tolist())
        bytes_ = _opened(self.path, int(self._ends[-1]))
        pixels: Pixels = np.array(bytes_[end - math.prod(shape) : end]).reshape(shape)
        return pixels


def open_kept(path: Path) -> KeptPixels | None:
    """What `keep` wrote; None where it is not there or damaged, which is logged."""
    try:
        shape_N3 = np.load(_index_of(path))
        found, expected = path.stat().st_size, int(shape_N3.prod(axis=1).sum())
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as problem:
        log.warning("%s is damaged and written again: %s", _index_of(path), problem)
        return None
    if found != expected:
        log.warning("%s has %d bytes, expected %d: it is written again", path, found, expected)
        return None
    return KeptPixels(path, shape_N3)


def keep(path: Path, images: Iterable[Pixels], *, most_mib: float) -> KeptPixels:
    """Write images in order until the next one would not fit.

    Raises:
        StorageError: the disk is full or refuses; nothing is left of the file.
    """
    index: list[tuple[int, ...]] = []
    left = most_mib * 2**20
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for pixels in images:
            left -= pixels.size
            if left < 0:
                break
            file.write(pixels.tobytes())
            index.append(pixels.shape)
    shape_N3 = np.array(index, np.int64).reshape(-1, 3)
    # Last: a file without its index counts as not there.
    with atomic_path(_index_of(path)) as temporary, temporary.open("wb") as file:
        np.save(file, shape_N3)
    return KeptPixels(path, shape_N3)


def _index_of(path: Path) -> Path:
    return path.with_suffix(".shapes.npy")


@lru_cache(maxsize=8)
def _opened(path: Path, size: int) -> Pixels:
    """So many bytes as a memory map, opened once in each process."""
    bytes_: Pixels = np.memmap(path, np.uint8, mode="r", shape=(size,))
    return bytes_


_VIEW_DETAIL = 2
"""Sides of a JPEG are decoded with at least twice the pixels they are resized to: no visible difference."""


class BadImage(NamedTuple):
    """An image that could not be read.

    Attributes:
        place: its position in the sequence of paths.
        reason: why, in a person's words.
        of_content: whether every file with this content is as bad; no where the file could not be opened.
    """

    place: int
    reason: str
    of_content: bool


class EvalViews(NamedTuple):
    """Images in the order they were given, each as the input of several nets.

    Attributes:
        index_B: position of each image in the sequence of paths, int64.
        pixels: x_BCHW for each of the settings, uint8, not normalized; one tensor for all that want equal pixels.
        looks: thumbnail, size and mode of each of these images.
        bad: those that could not be read.
    """

    index_B: npt.NDArray[np.int64]
    pixels: Mapping[Preprocess, torch.Tensor]
    looks: Looks
    bad: list[BadImage]


def eval_views(
    paths: Sequence[str | Path],
    views: Sequence[Preprocess],
    *,
    batch: int,
    workers: int,
    digests: Sequence[str] | None = None,
) -> Generator[EvalViews]:
    """Decode every image once, in order, for nets with different inputs; bad images are named instead of raised.

    Each batch covers the next `batch` paths. A net sees the same pixels as it would alone, and thumbnails do not depend
    on the nets: only a JPEG that is much larger than one of them needs but not than another is decoded twice, at two
    scales.

    Args:
        views: the nets' inputs, at least one; all with the same `value_range`.
        batch: paths per batch.
        workers: processes that decode ahead; 0 decodes in this process.
        digests: of the contents that are expected; an image that has changed since is a bad one.

    Raises:
        DataError: a worker process died, or the limit of pixels in the environment is not a number.
    """
    assert len({view.value_range for view in views}) == 1, "one scale for a whole data set"
    max_pixels()
    distinct = tuple(dict.fromkeys(map(_pixels_of, views)))
    chunks = _EvalChunks([str(path) for path in paths], distinct, batch, digests)
    numbers = range(math.ceil(len(paths) / batch))
    with closing(ahead(chunks, numbers, workers=workers)) as stream:
        for index_B, arrays, looks, bad in stream:
            x_BCHW_of = dict(zip(distinct, map(torch.from_numpy, arrays), strict=True))
            yield EvalViews(index_B, {view: x_BCHW_of[_pixels_of(view)] for view in views}, looks, bad)


def _pixels_of(p: Preprocess) -> Preprocess:
    """Settings without what `fit_image` does not look at: those with equal pixels become equal."""
    return replace(
        p,
        crop_pct=p.crop_pct if p.fit == "crop" else 1.0,
        mean=p.mean if p.fit == "pad" else (0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


class _Chunk(NamedTuple):
    index_B: npt.NDArray[np.int64]
    views: list[Pixels]
    looks: Looks
    bad: list[BadImage]


@dataclass(frozen=True, slots=True)
class _EvalChunks:
    paths: Sequence[str]
    views: Sequence[Preprocess]
    batch: int
    digests: Sequence[str] | None

    def __call__(self, chunk: int) -> _Chunk:
        first = chunk * self.batch
        good: list[int] = []
        pixels: list[list[Pixels]] = [[] for _ in self.views]
        bad: list[BadImage] = []
        thumbnails: list[Pixels] = []
        colors: list[Pixels] = []
        sizes: list[tuple[int, int]] = []
        modes: list[str] = []
        for index, path in enumerate(self.paths[first : first + self.batch], start=first):
            try:
                decoded = read_image_for(
                    path,
                    [DETAIL, *(_VIEW_DETAIL * resized_side(view) for view in self.views)],
                    value_range=self.views[0].value_range,
                    digest=self.digests[index] if self.digests else None,
                )
            except UnreadableImage as error:
                bad.append(BadImage(index, error.message, not isinstance(error, UnopenedFile)))
                continue
            good.append(index)
            look, *images = decoded.images
            thumbnails.append(thumbnail(look))
            colors.append(color_thumbnail(look))
            sizes.append(decoded.size)
            modes.append(decoded.mode)
            for image, view, column in zip(images, self.views, pixels, strict=True):
                column.append(to_array(fit_image(image, view)))
        looks = looks_of(thumbnails, sizes, modes, colors)
        return _Chunk(np.array(good, np.int64), list(map(stacked, pixels, self.views)), looks, bad)


def stacked(pixels: list[Pixels], view: Preprocess) -> Pixels:
    """Images (C, H, W) as one array (B, C, H, W); B may be 0."""
    return np.stack(pixels) if pixels else np.empty((0, 3, view.size, view.size), np.uint8)


Augment = Callable[[Image.Image, np.random.Generator, int], Image.Image]
"""(RGB image, dice of this image and epoch, side of the net's input) -> RGB image of any size."""


_DETAIL = 4
"""Sides of a JPEG are decoded with at least this many times the pixels: a random crop may enlarge a part of it."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that cannot be read any more; an exception would not cross the border of a process whole."""

    name: str
    reason: str

    def error(self) -> DataError:
        return DataError(
            f"{self.name} cannot be read any more: {self.reason}.",
            "Restore the file and resume, or analyze the images again: bad ones are left out then.",
        )


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """Training images that are changed one by one while they are read, each a pure function of (seed, epoch, image).

    Attributes:
        augment: changes each image before it is fitted to the input, or None. Where processes are spawned
            and not forked (macOS, Windows), it has to be picklable.
        kept: the first of them as they come out of decoding, (H, W, 3), which are then not decoded again.
    """

    samples: Sequence[Sample]
    preprocess: Preprocess
    augment: Augment | None
    seed: int
    kept: KeptPixels | None = None

    def pixels(self, index: int, epochs: Sequence[int]) -> list[Pixels]:
        """One image as it is seen in each of these epochs, (C, H, W); it is decoded once.

        Raises:
            UnreadableImage: it cannot be read any more.
        """
        image = self.decoded(index)
        return [to_array(fit_image(self._augmented(image, index, epoch), self.preprocess)) for epoch in epochs]

    def decoded(self, index: int) -> Image.Image:
        """One image before anything is changed, RGB.

        Raises:
            UnreadableImage: it cannot be read any more.
        """
        if self.kept is not None and index < len(self.kept):
            return Image.fromarray(self.kept.read(index))
        p = self.preprocess
        return read_image(self.samples[index].path, at_least=_DETAIL * resized_side(p), value_range=p.value_range)

    def _augmented(self, image: Image.Image, index: int, epoch: int) -> Image.Image:
        if self.augment is None:
            return image
        return self.augment(image, image_rng(self.seed, epoch, index), self.preprocess.size)

    def batch(self, indices: Sequence[int], epochs: Sequence[int]) -> Pixels | Unreadable:
        """These images in each of these epochs (V, B, C, H, W), or the first that cannot be read."""
        views: list[list[Pixels]] = [[] for _ in epochs]
        for index in indices:
            try:
                for view, pixels in zip(views, self.pixels(index, epochs), strict=True):
                    view.append(pixels)
            except UnreadableImage as problem:
                return Unreadable(self.samples[index].name, problem.message)
        return np.stack([stacked(view, self.preprocess) for view in views])


def first_epochs(images: TrainingImages, epochs: int, *, batch: int, workers: int) -> Generator[torch.Tensor]:
    """All training images in order, `batch` at a time, as each of the first epochs sees them: (V, B, C, H, W), uint8.

    Raises:
        DataError: an image cannot be read any more, or a worker process died.
    """
    parts = range(math.ceil(len(images.samples) / batch))
    with closing(ahead(partial(_part, images, epochs, batch), parts, workers=workers)) as stream:
        for made in stream:
            if isinstance(made, Unreadable):
                raise made.error()
            yield torch.from_numpy(made)


def decoded_pixels(images: TrainingImages, *, workers: int) -> Generator[Pixels]:
    """All training images as they come out of decoding (H, W, C), in order.

    Raises:
        DataError: an image cannot be read any more, or a worker process died.
    """
    with closing(ahead(partial(_decoded, images), range(len(images.samples)), workers=workers)) as stream:
        for made in stream:
            if isinstance(made, Unreadable):
                raise made.error()
            yield made


def _decoded(images: TrainingImages, index: int) -> Pixels | Unreadable:
    try:
        return np.asarray(images.decoded(index))
    except UnreadableImage as problem:
        return Unreadable(images.samples[index].name, problem.message)


def _part(images: TrainingImages, epochs: int, batch: int, number: int) -> Pixels | Unreadable:
    start = number * batch
    return images.batch(range(start, min(start + batch, len(images.samples))), range(epochs))
