"""Decoded images on the disk, one after another in a file, read back as they are asked for.

Shapes: N images; each has axes of its own, such as (height, width, 3).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
