"""Images moved as a whole: every such change is a map from places of the result to places of the image.

What comes in from outside is the image mirrored at its border: black corners would be a feature that no real image has.

Shapes: 3x3 matrices act on (x, y, 1) in pixels, pixel centers at .5 as in Pillow; G corners of a grid.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune_advisor.techniques.augmentation.base import Augmentation, Context

Matrix = npt.NDArray[np.float64]
Places = npt.NDArray[np.float64]

_DETAIL = 2
"""Images are moved with at most this many times the sides of the network's input: more costs time and shows nothing."""

_CELLS = 12
"""Cells along a side in which a curved map is taken for bilinear."""


class Affine(Augmentation):
    """A change that keeps straight lines straight."""

    @abstractmethod
    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:
        """Where the places of the result lie in an image of this size (3, 3), in pixels from its center."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image, moved."""
        return apply_all((self,), image, rng, context)


def apply_all(
    techniques: Iterable[Augmentation], image: Image.Image, rng: np.random.Generator, context: Context
) -> Image.Image:
    """One technique after the other; affine ones that follow each other move the image once, which blurs it once."""
    for affine, others in _together(techniques):
        if affine:
            image = reduced(image, context)
            image = warp(image, _composed(affine, rng, *image.size))
        for technique in others:
            image = technique.apply(image, rng, context)
    return image


def _together(techniques: Iterable[Augmentation]) -> Iterator[tuple[list[Affine], list[Augmentation]]]:
    """Affine techniques that follow each other, or others that do; one of the two is empty."""
    for affine, members in itertools.groupby(techniques, lambda technique: isinstance(technique, Affine)):
        group = list(members)
        yield ([member for member in group if isinstance(member, Affine)], []) if affine else ([], group)


def _composed(techniques: Iterable[Affine], rng: np.random.Generator, width: int, height: int) -> Matrix:
    """One movement; the last map is asked first: it says where its result lies in what the ones before it made."""
    matrix = np.eye(3)
    for technique in techniques:
        matrix = matrix @ technique.matrix(rng, width, height)
    return matrix


def warp(image: Image.Image, matrix: Matrix) -> Image.Image:
    """The image seen through a matrix; see `Affine.matrix`."""
    width, height = image.size
    center_2 = np.array([width / 2, height / 2])
    turn_22, shift_2 = matrix[:2, :2], matrix[:2, 2]
    corners_G2 = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float)
    origin_2 = center_2 + shift_2 - turn_22 @ center_2
    padded, offset_2 = _mirrored(image, corners_G2 @ turn_22.T + origin_2)
    coefficients = np.column_stack([turn_22, origin_2 + offset_2])
    filter_ = Image.Resampling.BICUBIC
    return padded.transform((width, height), Image.Transform.AFFINE, coefficients.ravel().tolist(), filter_)


def bend(image: Image.Image, place: Callable[[Places], Places], context: Context) -> Image.Image:
    """The image seen through a curved map.

    Args:
        image: RGB, of any size.
        place: places of the result -> places in the image (G, 2); the center is (0, 0), the corners lie at distance 1.
        context: the size of the network's input.
    """
    image = reduced(image, context)
    width, height = image.size
    center_2, radius = np.array([width / 2, height / 2]), math.hypot(width, height) / 2
    x = np.unique(np.linspace(0, width, _CELLS + 1).round())
    y = np.unique(np.linspace(0, height, _CELLS + 1).round())
    grid_YX2 = np.stack(np.meshgrid(x, y), axis=-1)
    unit_G2 = (grid_YX2.reshape(-1, 2) - center_2) / radius
    source_G2 = place(unit_G2) * radius + center_2
    padded, offset = _mirrored(image, source_G2)
    source_YX2 = (source_G2 + offset).reshape(grid_YX2.shape)
    mesh = [
        (
            (int(x[column]), int(y[row]), int(x[column + 1]), int(y[row + 1])),
            # Pillow goes around a cell from the upper left corner down.
            _flat([source_YX2[row + down, column + right] for down, right in ((0, 0), (1, 0), (1, 1), (0, 1))]),
        )
        for row in range(len(y) - 1)
        for column in range(len(x) - 1)
    ]
    return padded.transform((width, height), Image.Transform.MESH, mesh, Image.Resampling.BICUBIC)


def _flat(corners: Sequence[npt.NDArray[np.float64]]) -> tuple[float, ...]:
    return tuple(float(value) for corner in corners for value in corner)


def reduced(image: Image.Image, context: Context) -> Image.Image:
    """The image with no more pixels than are of use to the network."""
    factor = min(image.size) // (_DETAIL * context.size)
    return image.reduce(factor) if factor > 1 else image


def _mirrored(image: Image.Image, places_G2: Places) -> tuple[Image.Image, npt.NDArray[np.float64]]:
    """The image continued by its mirror images as far as the places go, and by how much that moves it (x, y)."""
    sides_2 = np.array(image.size)
    # One pixel more than the places say: the resampling filter looks around them.
    before_2 = np.ceil(np.maximum(0, -places_G2.min(axis=0)) + 2).astype(int)
    after_2 = np.ceil(np.maximum(0, places_G2.max(axis=0) - sides_2) + 2).astype(int)
    margins = [(int(before_2[1]), int(after_2[1])), (int(before_2[0]), int(after_2[0])), (0, 0)]
    return Image.fromarray(np.pad(np.asarray(image), margins, mode="symmetric")), before_2.astype(float)
