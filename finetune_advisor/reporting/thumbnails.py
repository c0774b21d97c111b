"""Small pictures that are part of the page itself."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from finetune_advisor.data.decode import read_image
from finetune_advisor.errors import FinetuneAdvisorError
from finetune_advisor.techniques.preprocessing.settings import ValueRange

log = logging.getLogger(__name__)

SIDE = 112
"""Longer side in pixels: a face or a label in it can be told, and a hundred of them weigh under half a megabyte."""

SMALL = 72
"""The same where very many are shown, in small: what an image is of can be told."""

QUALITY = 72
"""Of the JPEG; more cannot be told apart at this size."""


def thumbnails(
    names: Iterable[str], images: Mapping[str, Path], *, side: int = SIDE, value_range: ValueRange | None = None
) -> dict[str, str]:
    """A `data:` address for each name that can be drawn; the others are left out and logged.

    Args:
        names: names as the profile has them.
        images: name -> the file itself.
        side: longer side in pixels.
        value_range: see `read_image`.
    """
    wanted = list(dict.fromkeys(names))
    # Pillow decodes outside Python's lock, so threads share the work.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        drawn = pool.map(lambda name: _drawn(name, images.get(name), side, value_range), wanted)
        return {name: address for name, address in zip(wanted, drawn, strict=True) if address}


def _drawn(name: str, path: Path | None, side: int, value_range: ValueRange | None) -> str | None:
    if path is None:
        log.info("no picture of %r on the page: its file is not known", name)
        return None
    try:
        return data_address(read_image(path, at_least=side, value_range=value_range), side=side)
    except FinetuneAdvisorError as problem:
        log.info("no picture of %r on the page: %s", name, problem)
        return None


def data_address(image: Image.Image, *, side: int = SIDE) -> str:
    """An RGB image, made small, as an address that holds the picture itself."""
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
