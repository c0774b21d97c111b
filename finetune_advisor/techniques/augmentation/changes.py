"""What the dice say of one image, before any pixel is touched.

A change is a value: the CPU makes it of one image at a time, a device of many at once, and both get the same picture.

Shapes: 3x3 matrices act on (x, y, 1) in pixels; C channels (3); H and W pixels of a rectangle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Mirror:
    """Mirrored along either side; the default leaves an image as it is."""

    left_right: bool = False
    top_bottom: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """Where the places of the result lie in the image, in pixels from its center; see `Affine.matrix`."""

    matrix: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bend:
    """Radial distortion r -> r (1 + k r^2) / (1 + k), where r is 1 at the corners."""

    k: float


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of the image, scaled to the input of the network: left, top, right and bottom in pixels."""

    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """Brightness (0), contrast (1) and saturation (2): the order in which they change, and each one's factor in it."""

    order: tuple[int, int, int]
    factors: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Tint:
    """A color that is added to all pixels (C,), on the scale 0..1."""

    offset_C: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """A rectangle that takes the place of what was there (H, W, C); one without pixels hides nothing."""

    left: int
    top: int
    pixels_HWC: npt.NDArray[np.uint8]


Change: TypeAlias = Mirror | Move | Bend | Cut | Light | Tint | Fill

Slot: TypeAlias = frozenset[type[Change]]
"""The kinds of change that one place in the order of changes may hold, whatever the dice say."""
