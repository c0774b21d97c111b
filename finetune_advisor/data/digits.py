"""The demo's real images: handwritten digits that ship with scikit-learn, written as an image folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from finetune_advisor.artifacts.storage import atomic_write

SIDE = 64
"""Pixels; the scans have 8 x 8 and are enlarged so that a person can look at them."""

TEST_SHARE = 5
"""Every fifth scan of a digit is kept for the test."""


def write_digits(folder: Path) -> int:
    """Write the 1,797 scans as `train/<digit>/*.png` and `test/<digit>/*.png`; returns how many there are.

    Source: E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.

    Raises:
        StorageError: the folder cannot be written.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    counts = np.zeros(10, dtype=int)
    for pixels_HW, digit in zip(digits.images, digits.target, strict=True):
        counts[digit] += 1
        split = "test" if counts[digit] % TEST_SHARE == 0 else "train"
        path = folder / split / str(digit) / f"{counts[digit]:03d}.png"
        if not path.is_file():
            atomic_write(path, _png(pixels_HW))
    return len(digits.target)


def _png(pixels_HW: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> bytes:
    """A scan with gray values 0..16 as a PNG file."""
    scan = Image.fromarray(np.round(pixels_HW * 255 / 16).astype(np.uint8))
    stream = io.BytesIO()
    scan.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, format="PNG")
    return stream.getvalue()
