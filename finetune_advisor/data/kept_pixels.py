"""Decoded images on the disk, one after another in a file, read back as they are asked for.

Shapes: N images; each has axes of its own, such as (height, width, 3).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.storage import atomic_path

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

    def read(self, index: int) -> Pixels:
        """The pixels of one image, a copy that may be changed."""
        bytes_, start_N = _opened(self.path, len(self))
        shape = tuple(self.shape_N3[index].tolist())
        return np.array(bytes_[start_N[index] : start_N[index + 1]]).reshape(shape)


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
    """Write images, each with three axes, in order, until the next one would not fit.

    Raises:
        StorageError: the disk is full or refuses; nothing is left of the file.
    """
    shapes: list[tuple[int, ...]] = []
    left = most_mib * 2**20
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for pixels in images:
            left -= pixels.size
            if left < 0:
                break
            file.write(pixels.tobytes())
            shapes.append(pixels.shape)
    shape_N3 = np.array(shapes, np.int64).reshape(-1, 3)
    # Last: a file without its index counts as not there.
    with atomic_path(_index_of(path)) as temporary, temporary.open("wb") as file:
        np.save(file, shape_N3)
    return KeptPixels(path, shape_N3)


def _index_of(path: Path) -> Path:
    return path.with_suffix(".shapes.npy")


@lru_cache(maxsize=8)
def _opened(path: Path, images: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """The bytes as a memory map, and where each image starts (N + 1,); once in each process."""
    sizes_N = np.load(_index_of(path)).prod(axis=1)
    assert len(sizes_N) == images, "written again while in use"
    start_N = np.concatenate([[0], np.cumsum(sizes_N)])
    bytes_: Pixels = np.memmap(path, np.uint8, mode="r") if start_N[-1] else np.empty(0, np.uint8)
    return bytes_, start_N
