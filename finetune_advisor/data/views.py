"""Images decoded once and shown to several nets, each in the size and fit it wants.

Shapes: B images of a batch, C channels (3), H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from finetune_advisor.data.ahead import ahead
from finetune_advisor.data.decode import max_pixels, read_image_for, to_array
from finetune_advisor.data.fit import fit_image, resized_side
from finetune_advisor.data.looks import DETAIL, Looks, color_thumbnail, looks_of, thumbnail
from finetune_advisor.errors import UnopenedFile, UnreadableImage
from finetune_advisor.techniques.preprocessing.settings import Preprocess

_DETAIL = 2
"""Sides of a JPEG are decoded with at least twice the pixels they are resized to: no visible difference."""

Pixels = npt.NDArray[np.uint8]


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
                    [DETAIL, *(_DETAIL * resized_side(view) for view in self.views)],
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
