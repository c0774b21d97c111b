"""Changes of many images at once, as tensor operations on whatever device their pixels are.

Every stage leaves whole numbers from 0 to 255, as Pillow does after every change: a change of colors of the same pixels
is then the same. Nothing here depends on which images lie together, and nothing waits for the device.

Shapes: B images, C channels (3), H and W pixels, N pixels that are filled; x and y are places from -1 to 1, the borders
of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

Send = Callable[[Tensor], Tensor]
"""Brings a tensor to the device."""


class Stage(ABC):
    """One change of many images, each in its own way; its arrays can be sent to another process."""

    @abstractmethod
    def apply(self, x_BCHW: Tensor, send: Send) -> Tensor:
        """New images, uint8, on the same device."""


class Step(NamedTuple):
    """A map of places, of each image its own: x and y times a matrix, then through a lens where there is one."""

    matrix_B23: Floats
    lens_B3: Floats | None
    """Of each image k, and what x^2 and y^2 count in the squared radius; see `Bend`."""


class Frame(NamedTuple):
    """The part of the result that shows the image: left, top, right and bottom in pixels; the rest has one color."""

    edges_B4: Integers
    color_C: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Resample(Stage):
    """Images seen through one grid of places each: however many movements there are, every pixel is read once.

    Between two steps, and beyond the border of the image, what is outside is the image mirrored at its border.

    Attributes:
        steps: from places of the result to places of the image, in the order in which they are asked.
        height, width: of the result.
        oversampling: pixels of the grid along a side of a pixel of the result, which is their mean.
        frame: where the image is shown; None: everywhere.
    """

    steps: tuple[Step, ...]
    height: int
    width: int
    oversampling: int
    frame: Frame | None

    def apply(self, x_BCHW: Tensor, send: Send) -> Tensor:
        device, times = x_BCHW.device, self.oversampling
        x, y = _centers(self.width * times, device)[None, None, :], _centers(self.height * times, device)[None, :, None]
        for number, step in enumerate(self.steps):
            if number:
                x, y = _reflected(x), _reflected(y)
            x, y = _moved(x, y, send(torch.from_numpy(step.matrix_B23)))
            if step.lens_B3 is not None:
                x, y = _bent(x, y, send(torch.from_numpy(step.lens_B3)))
        grid_BHW2 = torch.stack([x, y], dim=-1)
        seen_BCHW = functional.grid_sample(
            x_BCHW.float(), grid_BHW2, mode="bicubic", padding_mode="reflection", align_corners=False
        )
        if times > 1:
            seen_BCHW = functional.avg_pool2d(seen_BCHW, times)
        seen_BCHW = _as_pixels(seen_BCHW.round_())
        return seen_BCHW if self.frame is None else self._framed(seen_BCHW, self.frame, send)

    def _framed(self, x_BCHW: Tensor, frame: Frame, send: Send) -> Tensor:
        edges_B411 = send(torch.from_numpy(frame.edges_B4))[:, :, None, None]
        color_C = send(torch.from_numpy(frame.color_C))
        column_W = torch.arange(self.width, device=x_BCHW.device)
        row_H1 = torch.arange(self.height, device=x_BCHW.device)[:, None]
        left, top, right, bottom = edges_B411.unbind(dim=1)
        inside_BHW = (column_W >= left) & (column_W < right) & (row_H1 >= top) & (row_H1 < bottom)
        return torch.where(inside_BHW[:, None], x_BCHW, color_C[:, None, None])


@dataclass(frozen=True, slots=True, eq=False)
class Relight(Stage):
    """Brightness (0), contrast (1) and saturation (2), one after the other; see `Light`.

    As in Pillow, each moves every value away from a base, or toward it: black, the mean gray of the image, the gray of
    the pixel. Results are cut down to whole numbers.
    """

    order_B3: Integers
    factor_B3: Floats

    def apply(self, x_BCHW: Tensor, send: Send) -> Tensor:
        order_B3, factor_B3 = send(torch.from_numpy(self.order_B3)), send(torch.from_numpy(self.factor_B3))
        x_BCHW = x_BCHW.float()
        for kind_B, factor_B in zip(order_B3.unbind(dim=1), factor_B3.unbind(dim=1), strict=True):
            kind_B111, factor_B111 = kind_B[:, None, None, None], factor_B[:, None, None, None]
            gray_B1HW = _gray(x_BCHW)
            base_B1HW = torch.where(kind_B111 == 2, gray_B1HW, _mean(gray_B1HW) * (kind_B111 == 1))
            x_BCHW = (base_B1HW + factor_B111 * (x_BCHW - base_B1HW)).clamp_(0, 255).floor_()
        return _as_pixels(x_BCHW)


@dataclass(frozen=True, slots=True, eq=False)
class Tinge(Stage):
    """One color added to all pixels of an image; see `Tint`."""

    offset_BC: Floats
    """On the scale 0..255."""

    def apply(self, x_BCHW: Tensor, send: Send) -> Tensor:
        return _as_pixels((x_BCHW + send(torch.from_numpy(self.offset_BC))[:, :, None, None]).round_())


@dataclass(frozen=True, slots=True, eq=False)
class Paint(Stage):
    """Some pixels filled; see `Fill`."""

    image_N: Integers
    """Which image each of the pixels belongs to."""
    place_N: Integers
    """Where in it, counted row by row."""
    pixels_NC: npt.NDArray[np.uint8]

    def apply(self, x_BCHW: Tensor, send: Send) -> Tensor:
        if not len(self.image_N):
            return x_BCHW
        image_N, place_N = send(torch.from_numpy(self.image_N)), send(torch.from_numpy(self.place_N))
        painted_BCHW = x_BCHW.clone(memory_format=torch.contiguous_format)
        painted_BCHW.flatten(2)[image_N, :, place_N] = send(torch.from_numpy(self.pixels_NC))
        return painted_BCHW


class Together(NamedTuple):
    """Neighbors in a batch that go through the stages together, so that memory does not grow with the batch."""

    images: int
    stages: tuple[Stage, ...]


def run_stages(x_BCHW: Tensor, groups: Sequence[Together], send: Send) -> Tensor:
    """The images (uint8, on the device) after all stages of their groups, which follow each other in the batch."""
    return torch.cat(list(_changed(x_BCHW, groups, send)))


def _changed(x_BCHW: Tensor, groups: Sequence[Together], send: Send) -> Iterator[Tensor]:
    ends = np.cumsum([0, *(group.images for group in groups)]).tolist()
    assert ends[-1] == len(x_BCHW), (ends[-1], len(x_BCHW))
    for (start, end), group in zip(pairwise(ends), groups, strict=True):
        part_BCHW = x_BCHW[start:end]
        for stage in group.stages:
            part_BCHW = stage.apply(part_BCHW, send)
        yield part_BCHW


def _centers(pixels: int, device: torch.device) -> Tensor:
    """Where the centers of so many pixels in a row lie between -1 and 1."""
    return (2 * torch.arange(pixels, dtype=torch.float32, device=device) + 1) / pixels - 1


def _moved(x: Tensor, y: Tensor, matrix_B23: Tensor) -> tuple[Tensor, Tensor]:
    """Element by element: a matrix product may be rounded to ten bits on a GPU, and differ with the size of a batch."""
    (xx, xy, x0), (yx, yy, y0) = (row_B3[:, :, None, None].unbind(dim=1) for row_B3 in matrix_B23.unbind(dim=1))
    return xx * x + xy * y + x0, yx * x + yy * y + y0


def _bent(x: Tensor, y: Tensor, lens_B3: Tensor) -> tuple[Tensor, Tensor]:
    k, across, down = lens_B3[:, :, None, None].unbind(dim=1)
    factor = (1 + k * (across * (x * x) + down * (y * y))) / (1 + k)
    return x * factor, y * factor


def _reflected(x: Tensor) -> Tensor:
    """Places beyond -1 and 1, mirrored there until they lie between."""
    from_left = x + 1
    return 1 - (from_left - 4 * (from_left / 4).floor() - 2).abs()


def _gray(x_BCHW: Tensor) -> Tensor:
    """Pillow's gray, whole numbers (B, 1, H, W): the sums stay below 2^24, which float32 holds exactly."""
    red, green, blue = x_BCHW.unbind(dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536).floor()[:, None]


def _mean(gray_B1HW: Tensor) -> Tensor:
    """The mean of each image (B, 1, 1, 1), rounded; a sum of whole numbers is the same in every order."""
    pixels = gray_B1HW[0].numel()
    sum_B111 = gray_B1HW.sum(dim=(2, 3), keepdim=True, dtype=torch.int64)
    return ((2 * sum_B111 + pixels) // (2 * pixels)).float()


def _as_pixels(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.clamp_(0, 255).to(torch.uint8)
