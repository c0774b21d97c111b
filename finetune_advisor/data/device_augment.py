"""A recipe's augmentations as stages for many images at once.

Which stages there are follows from the recipe, never from the dice: an image comes out the same in any batch. Changes
of places that follow each other become the maps of one `Resample`; a change of colors ends such a run, because contrast
depends on what an image shows by then.

Shapes: B images, N filled pixels; matrices act on places from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.canvas import Canvas
from finetune_advisor.data.fit import Sides, fill_color, shown
from finetune_advisor.data.stages import Frame, Paint, Relight, Resample, Stage, Step, Tinge, Together
from finetune_advisor.techniques.augmentation import Context, Drawn, draw_all, slots_of
from finetune_advisor.techniques.augmentation.changes import Bend, Change, Cut, Fill, Light, Mirror, Move, Slot, Tint
from finetune_advisor.techniques.colors import Colors
from finetune_advisor.techniques.preprocessing.settings import Preprocess

TOGETHER = 64
"""Images that go through the stages at once; at 224 pixels they take about 450 MB while they do."""

_PLACES = frozenset[type[Change]]({Mirror, Move, Bend, Cut})
_LEAVING = frozenset[type[Change]]({Move, Bend})
"""After these, places may lie outside the image."""

Matrix = npt.NDArray[np.float64]


class _Placed(NamedTuple):
    """A change, and the size of the image it changes."""

    change: Change
    width: int
    height: int


@dataclass(frozen=True)
class DeviceAugment:
    """A value, so that worker processes can be sent it: they cast the dice, and the device follows them."""

    techniques: tuple[Drawn, ...]
    colors: Colors | None
    preprocess: Preprocess
    canvas: Canvas

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Kinds of change at each place of `changes`; the last one is the fit to the input, where that is needed."""
        slots = slots_of(self.techniques)
        return (*slots, frozenset({Cut})) if self._fits_last else slots

    @cached_property
    def _fits_last(self) -> bool:
        """Whether no technique leaves images as large as the input."""
        return not self.canvas.fitted and not any(Cut in slot for slot in slots_of(self.techniques))

    def changes(self, sides: Sides, rng: np.random.Generator) -> list[Change]:
        """What the dice of one image say, an image of this size (width, height); at the end it fits the input."""
        width, height = self.canvas.sides(sides)
        changes = draw_all(self.techniques, rng, width, height, Context(self.preprocess.size, self.colors))
        return [*changes, Cut(shown(width, height, self.preprocess)[0])] if self._fits_last else changes

    def groups(self, changes: Sequence[Sequence[Change]], sides: Sequence[Sides]) -> tuple[Together, ...]:
        """The stages of the images of a batch, from the changes of each and their sizes (width, height)."""
        parts = [slice(start, start + TOGETHER) for start in range(0, len(changes), TOGETHER)]
        return tuple(Together(len(changes[part]), tuple(self._stages(changes[part], sides[part]))) for part in parts)

    def _stages(self, changes: Sequence[Sequence[Change]], sides: Sequence[Sides]) -> Iterator[Stage]:
        columns = list(zip(*map(self._placed, changes, sides), strict=True))
        at_input, run = self.canvas.fitted, list[int]()
        for index, slot in enumerate(self.slots):
            if slot & _PLACES:
                run.append(index)
            colors = slot - _PLACES
            if run and (colors or index == len(columns) - 1):
                cut = any(Cut in self.slots[place] for place in run)
                yield self._resample([columns[place] for place in run], run, sides, cut=cut, at_input=at_input)
                at_input, run = at_input or cut, []
            yield from (_colored(kind, columns[index], self.preprocess.size) for kind in _COLORS if kind in colors)

    def _placed(self, changes: Sequence[Change], sides: Sides) -> Iterator[_Placed]:
        width, height = self.canvas.sides(sides)
        for change in changes:
            yield _Placed(change, width, height)
            if isinstance(change, Cut):
                width = height = self.preprocess.size

    def _resample(
        self,
        columns: Sequence[Sequence[_Placed]],
        run: Sequence[int],
        sides: Sequence[Sides],
        *,
        cut: bool,
        at_input: bool,
    ) -> Resample:
        size, canvas = self.preprocess.size, self.canvas
        width, height = (size, size) if cut or at_input else (canvas.width, canvas.height)
        finer = cut and not at_input and max(canvas.width, canvas.height) > size
        leaving = [bool(self.slots[place] & _LEAVING) for place in run]
        bending = [Bend in self.slots[place] for place in run]
        fits = self._fits_last and run[-1] == len(self.slots) - 1
        frame = self._frame(sides) if fits and self.preprocess.fit == "pad" else None
        return Resample(tuple(_steps(columns, leaving, bending)), height, width, 2 if finer else 1, frame)

    def _frame(self, sides: Sequence[Sides]) -> Frame:
        edges_B4 = np.array([shown(*each, self.preprocess)[1] for each in sides], np.int64)
        return Frame(edges_B4, np.array(fill_color(self.preprocess), np.uint8))


def _steps(columns: Sequence[Sequence[_Placed]], leaving: Sequence[bool], bending: Sequence[bool]) -> Iterator[Step]:
    """Maps that stay inside the image are joined to the one after them: the last change is asked first."""
    joined_B33: Matrix | None = None
    for column, leaves, bends in zip(reversed(columns), reversed(leaving), reversed(bending), strict=True):
        matrix_B33 = np.stack([_matrix(*placed) for placed in column])
        joined_B33 = matrix_B33 if joined_B33 is None else matrix_B33 @ joined_B33
        if leaves:
            yield _step(joined_B33, np.array([_lens(*placed) for placed in column], np.float32) if bends else None)
            joined_B33 = None
    if joined_B33 is not None:
        yield _step(joined_B33, None)


def _step(matrix_B33: Matrix, lens_B3: npt.NDArray[np.float32] | None) -> Step:
    return Step(matrix_B33[:, :2].astype(np.float32), lens_B3)


def _matrix(change: Change, width: int, height: int) -> Matrix:
    """From places of the result to places of an image of this size (3, 3)."""
    match change:
        case Mirror(left_right, top_bottom):
            return np.diag([-1.0 if left_right else 1.0, -1.0 if top_bottom else 1.0, 1.0])
        case Move(matrix):
            to_pixels = np.array([width / 2, height / 2, 1.0])
            moved: Matrix = matrix * to_pixels / to_pixels[:, None]
            return moved
        case Cut((left, top, right, bottom)):
            across, down = (right - left) / width, (bottom - top) / height
            return np.array(
                [[across, 0, (left + right) / width - 1], [0, down, (top + bottom) / height - 1], [0, 0, 1]]
            )
        case _:
            return np.eye(3)


def _lens(change: Change, width: int, height: int) -> tuple[float, float, float]:
    """k, and what x^2 and y^2 count in the squared radius, which is 1 at the corners."""
    square = width**2 + height**2
    return (change.k if isinstance(change, Bend) else 0.0), width**2 / square, height**2 / square


_COLORS = (Light, Tint, Fill)


def _colored(kind: type[Change], column: Sequence[_Placed], size: int) -> Stage:
    """The stage for the changes of this kind in a slot; an image with another one there stays as it is."""
    changes = [placed.change for placed in column]
    if kind is Light:
        still = Light((0, 1, 2), (1.0, 1.0, 1.0))
        lights = [change if isinstance(change, Light) else still for change in changes]
        factors = np.array([light.factors for light in lights], np.float32)
        return Relight(np.array([light.order for light in lights], np.int64), factors)
    if kind is Tint:
        offsets = [change.offset_C if isinstance(change, Tint) else np.zeros(3) for change in changes]
        return Tinge(255 * np.array(offsets, np.float32))
    return _painted([change if isinstance(change, Fill) else None for change in changes], size)


def _painted(fills: Sequence[Fill | None], size: int) -> Paint:
    images, places, pixels = [], [], []
    for image, fill in enumerate(fills):
        if fill is not None:
            height, width = fill.pixels_HWC.shape[:2]
            rows_H1 = fill.top + np.arange(height)[:, None]
            places.append((rows_H1 * size + fill.left + np.arange(width)).ravel())
            images.append(np.full(height * width, image))
            pixels.append(fill.pixels_HWC.reshape(-1, 3))
    if not images:
        images, places, pixels = [np.empty(0, int)], [np.empty(0, int)], [np.empty((0, 3), np.uint8)]
    return Paint(
        np.concatenate(images).astype(np.int64), np.concatenate(places).astype(np.int64), np.concatenate(pixels)
    )
