"""Training images as the network sees them: decoded once, augmented for one epoch or for several.

Shapes: V epochs, B images, C channels (3), H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from finetune_advisor.data.ahead import ahead
from finetune_advisor.data.decode import read_image, to_array
from finetune_advisor.data.fit import fit_image, resized_side
from finetune_advisor.data.kept_pixels import KeptPixels
from finetune_advisor.data.plan import image_rng
from finetune_advisor.data.sources import Sample
from finetune_advisor.data.views import stacked
from finetune_advisor.errors import DataError, UnreadableImage
from finetune_advisor.techniques.preprocessing.settings import Preprocess

Augment = Callable[[Image.Image, np.random.Generator, int], Image.Image]
"""(RGB image, dice of this image and epoch, side of the net's input) -> RGB image of any size."""

Pixels = npt.NDArray[np.uint8]

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
