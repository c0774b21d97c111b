"""Training images as the network sees them: decoded once, augmented for one epoch or for several.

Shapes: V epochs, B images, C channels (3), H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from finetune_advisor.data.ahead import ahead
from finetune_advisor.data.decode import read_image, to_array
from finetune_advisor.data.fit import fit_image, resized_side
from finetune_advisor.data.kept_pixels import KeptPixels, Picture
from finetune_advisor.data.plan import image_rng
from finetune_advisor.data.sources import Sample
from finetune_advisor.data.stages import Send, Together, run_stages
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


class Seen(NamedTuple):
    """Some images as each of several epochs is to see them."""

    pixels: Pixels
    """As the network sees them (V, B, C, H, W); where stages are left, as they lie on a canvas (B, C, H, W)."""
    stages: tuple[tuple[Together, ...], ...] = ()
    """What a device has still to do, for each of the epochs."""

    def views(self, send: Send) -> torch.Tensor:
        """As the network sees them (V, B, C, H, W), uint8; on the device where it had something to do."""
        pixels = torch.from_numpy(self.pixels)
        if not self.stages:
            return pixels
        canvas_BCHW = send(pixels)
        return torch.stack([run_stages(canvas_BCHW, groups, send) for groups in self.stages])


class TrainingImages(Protocol):
    """Training images, each a pure function of (seed, epoch, image)."""

    @property
    def samples(self) -> Sequence[Sample]: ...

    def picture(self, index: int) -> Picture:
        """What is kept of one image, so that it is decoded once (H, W, C).

        Raises:
            UnreadableImage: it cannot be read any more.
        """

    def batch(self, indices: Sequence[int], epochs: Sequence[int]) -> Seen | Unreadable:
        """These images in each of these epochs, or the first that cannot be read."""


def read_training_image(sample: Sample, p: Preprocess) -> Image.Image:
    """One image before anything is changed, RGB.

    Raises:
        UnreadableImage: it cannot be read any more.
    """
    return read_image(sample.path, at_least=_DETAIL * resized_side(p), value_range=p.value_range)


@dataclass(frozen=True, slots=True)
class Augmented:
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
            return Image.fromarray(self.kept.read(index).pixels)
        return read_training_image(self.samples[index], self.preprocess)

    def picture(self, index: int) -> Picture:
        """One image as it comes out of decoding.

        Raises:
            UnreadableImage: it cannot be read any more.
        """
        image = self.decoded(index)
        return Picture(np.asarray(image), image.size)

    def _augmented(self, image: Image.Image, index: int, epoch: int) -> Image.Image:
        if self.augment is None:
            return image
        return self.augment(image, image_rng(self.seed, epoch, index), self.preprocess.size)

    def batch(self, indices: Sequence[int], epochs: Sequence[int]) -> Seen | Unreadable:
        """These images in each of these epochs, or the first that cannot be read."""
        views: list[list[Pixels]] = [[] for _ in epochs]
        for index in indices:
            try:
                for view, pixels in zip(views, self.pixels(index, epochs), strict=True):
                    view.append(pixels)
            except UnreadableImage as problem:
                return Unreadable(self.samples[index].name, problem.message)
        return Seen(np.stack([stacked(view, self.preprocess) for view in views]))


def first_epochs(
    images: TrainingImages, epochs: int, *, batch: int, workers: int, send: Send
) -> Generator[torch.Tensor]:
    """All training images in order, `batch` at a time, as each of the first epochs sees them: (V, B, C, H, W), uint8.

    Args:
        send: brings tensors to the device, where there is something to do for one.

    Raises:
        DataError: an image cannot be read any more, or a worker process died.
    """
    parts = range(math.ceil(len(images.samples) / batch))
    with closing(ahead(partial(_part, images, epochs, batch), parts, workers=workers)) as stream:
        for made in stream:
            if isinstance(made, Unreadable):
                raise made.error()
            yield made.views(send)


def pictures(images: TrainingImages, *, workers: int) -> Generator[Picture]:
    """What is kept of all training images, in order.

    Raises:
        DataError: an image cannot be read any more, or a worker process died.
    """
    with closing(ahead(partial(_picture, images), range(len(images.samples)), workers=workers)) as stream:
        for made in stream:
            if isinstance(made, Unreadable):
                raise made.error()
            yield made


def _picture(images: TrainingImages, index: int) -> Picture | Unreadable:
    try:
        return images.picture(index)
    except UnreadableImage as problem:
        return Unreadable(images.samples[index].name, problem.message)


def _part(images: TrainingImages, epochs: int, batch: int, number: int) -> Seen | Unreadable:
    start = number * batch
    return images.batch(range(start, min(start + batch, len(images.samples))), range(epochs))
