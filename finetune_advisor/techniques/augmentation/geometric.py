"""Images moved as a whole: mirrored, turned, slanted, stretched, shifted, bent.

What comes in from outside is the image mirrored at its border: black corners would be a feature that no real image has.

Shapes: 3x3 matrices act on (x, y, 1) in pixels, pixel centers at .5 as in Pillow; G corners of a grid.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, model_validator

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


class HorizontalFlip(Augmentation):
    """Mirror the image left to right.

    Right for photographs; wrong where the side carries the label: text, road signs, left and right hands.
    """

    source: ClassVar[str] = "slides: data augmentation (flip horizontally)"
    advised: ClassVar[str] = (
        "Where mirrored held-out images score as before, within 2 points or two standard errors, or a probe gains by "
        "mirrored copies; also where that could not be measured."
    )

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the images that are mirrored."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image, mirrored with the given probability."""
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < self.probability else image


class VerticalFlip(Augmentation):
    """Mirror the image top to bottom.

    Right where nothing is up: textures, surfaces, cells, views from above; wrong for most photographs and for text.
    """

    source: ClassVar[str] = "slides: data augmentation (flips)"
    advised: ClassVar[str] = (
        "Where images upside down score as before, within 1 point or one standard error, and a probe loses nothing by "
        "learning both."
    )

    kind: Literal["vertical_flip"] = "vertical_flip"
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the images that are mirrored."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image, mirrored with the given probability."""
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if rng.random() < self.probability else image


class Rotation(Affine):
    """Turn the image by a random angle.

    Small angles suit any photograph; 180 suits what has no up (surfaces, cells, views from above). Quarter turns
    (`step: 90`) keep every line as straight and as sharp as it was.
    """

    source: ClassVar[str] = "slides: data augmentation (rotation)"
    advised: ClassVar[str] = (
        "Quarter turns, where images turned by 90 degrees score as before, within 1 point or one standard error, a "
        "probe loses nothing by learning both, and the flips do not speak against half a turn."
    )

    kind: Literal["rotation"] = "rotation"
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest angle, in either direction."""
    step: Annotated[float, Field(gt=0, le=180)] | None = None
    """Angles are rounded to multiples of this; null: any angle. 90 with `degrees: 180` draws quarter turns evenly."""

    @model_validator(mode="after")
    def _turns(self) -> Rotation:
        if self.step is not None and self.step > self.degrees:
            raise ValueError(f"expected `step` of at most `degrees`, found {self.step:g} and {self.degrees:g}")
        return self

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """A turn about the center."""
        angle = rng.uniform(-self.degrees, self.degrees)
        if self.step is not None:
            angle = self.step * round(angle / self.step)
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        # Rounded, because the cosine of 90 degrees is 6e-17: a quarter turn would fall just beside the pixels.
        return np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]).round(12)


class Shearing(Affine):
    """Slant the image sideways or upward, as a parallelogram.

    For handwriting and for things seen at an angle.
    """

    source: ClassVar[str] = "slides: data augmentation (shearing)"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether slants carry the label; what it brings was not measured."
    )

    kind: Literal["shearing"] = "shearing"
    degrees: Annotated[float, Field(ge=0, le=60)] = 10.0
    """Largest slant, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """A slant along one of the two sides, drawn by lot."""
        slant = math.tan(math.radians(rng.uniform(-self.degrees, self.degrees)))
        matrix = np.eye(3)
        matrix[(0, 1) if rng.random() < 0.5 else (1, 0)] = slant
        return matrix


class Stretching(Affine):
    """Stretch the image along one side and squeeze it along the other.

    For things that come in many proportions; wrong where the proportion is the label.
    """

    source: ClassVar[str] = "slides: data augmentation (stretching)"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether proportions carry the label; what it brings was not measured."
    )

    kind: Literal["stretching"] = "stretching"
    factor: Annotated[float, Field(ge=1, le=3)] = 1.3
    """Largest change of width / height, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:  # noqa: ARG002
        """Width / height times a factor whose logarithm is uniform; the area stays."""
        aspect = math.exp(rng.uniform(-1, 1) * math.log(self.factor))
        return np.diag([1 / math.sqrt(aspect), math.sqrt(aspect), 1.0])


class Translation(Affine):
    """Shift the image by a random share of its sides.

    For objects that stand anywhere; a crop already does this, so it is of use where crops are off.
    """

    source: ClassVar[str] = "slides: data augmentation (translation)"
    not_advised: ClassVar[str] = (
        "A crop shifts as well. Where crops are off, what they cut off is missed, and a shift would cut it off too."
    )

    kind: Literal["translation"] = "translation"
    share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest shift, of the width and of the height, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:
        """A shift along both sides."""
        right, down = rng.uniform(-self.share, self.share, size=2)
        return np.array([[1, 0, right * width], [0, 1, down * height], [0, 0, 1]])


class LensDistortion(Augmentation):
    """Bend straight lines outward or inward, as a lens does; the corners stay in place.

    For photographs of many cameras, wide angles among them; wrong where straightness is the label.
    """

    source: ClassVar[str] = "slides: data augmentation (lens distortions); Brown 1966, Decentering Distortion of Lenses"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether straightness carries the label; what it brings was not measured."
    )

    kind: Literal["lens_distortion"] = "lens_distortion"
    strength: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Largest coefficient of the squared radius, which is 1 at the corners, in either direction."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image with the radial distortion r -> r (1 + k r^2) / (1 + k)."""
        k = rng.uniform(-self.strength, self.strength)

        def place(unit_G2: Places) -> Places:
            square_G1 = (unit_G2**2).sum(axis=1, keepdims=True)
            bent_G2: Places = unit_G2 * (1 + k * square_G1) / (1 + k)
            return bent_G2

        return bend(image, place, context)
