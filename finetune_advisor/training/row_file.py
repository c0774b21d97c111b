"""Rows of one array on the disk: written once, whole or not at all, then read as a memory map.

The file is a plain `.npy`. Its space is reserved before the first row is written: a disk that is too full says so at
once, and not by a signal when a page of the map finds no place.

Shapes: V views, N images, B images of a part; `...` are the axes of a row.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.storage import atomic_path

log = logging.getLogger(__name__)

Rows = npt.NDArray[Any]


class TooLargeForHalf(Exception):
    """A number that float16 cannot hold."""


def open_rows(path: Path, shape: tuple[int, ...]) -> Rows | None:
    """The memory map (V, N, ...) of a whole file; None where it is not there or damaged, which is logged."""
    try:
        rows: Rows = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as problem:
        log.warning("%s is damaged and computed again: %s", path, problem)
        return None
    if rows.shape != shape:
        log.warning("%s holds %s numbers, expected %s: it is computed again", path, rows.shape, shape)
        return None
    return rows


def write_rows(path: Path, parts: Iterable[Rows], shape: tuple[int, ...], dtype: str) -> None:
    """Write a file from parts (V, B, ...) in float32 that follow each other along the images.

    Raises:
        StorageError: the disk is full or refuses; nothing is left of the file.
        TooLargeForHalf: a number does not fit `dtype`; the same.
    """
    views, images = shape[:2]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, row_bytes = file.tell(), np.dtype(dtype).itemsize * int(np.prod(shape[2:]))
        _reserve(file, start + views * images * row_bytes)
        done = 0
        for part in parts:
            for view, rows in enumerate(_converted(part, dtype)):
                file.seek(start + (view * images + done) * row_bytes)
                file.write(rows.tobytes())
            done += part.shape[1]
        assert done == images, f"{done} of {images} rows were written"


def _reserve(file: IO[bytes], size: int) -> None:
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)


def _converted(part: Rows, dtype: str) -> Rows:
    with np.errstate(over="ignore"):
        converted = part.astype(dtype)
    if np.isinf(converted).any() and np.isfinite(part).all():
        raise TooLargeForHalf
    return converted
