"""An image becomes a net's input, the same everywhere, training and prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping

from PIL import Image

from finetune_advisor.techniques.preprocessing import Preprocess

Sides = tuple[int, int]
"""Width and height in pixels."""

FILTERS: Mapping[str, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}

_LONGEST = 64
"""A longer side of more than this many shorter ones is cut before resizing, which would take gigabytes."""


def fit_image(image: Image.Image, p: Preprocess) -> Image.Image:
    """Bring an RGB image to exactly `p.size` x `p.size`; one that has this size is returned as it is.

    `crop` resizes the shorter side to `floor(size / crop_pct)` and cuts out the center, pixel for pixel
    what timm's evaluation transform does. `pad` resizes the longer side to `size` and centers the whole
    image on the mean color. `stretch` resizes both sides.
    """
    if image.size == (p.size, p.size):
        return image
    resample = FILTERS[p.interpolation]
    match p.fit:
        case "stretch":
            return image.resize((p.size, p.size), resample)
        case "pad":
            return _pad(image, p, resample)
        case "crop":
            return _crop(image, p, resample)


def resized_side(p: Preprocess) -> int:
    """Shorter side, in pixels, that an image is resized to before it is cropped to `p.size`."""
    return math.floor(p.size / p.crop_pct) if p.fit == "crop" else p.size


def fill_color(p: Preprocess) -> tuple[int, int, int]:
    """The mean color, on which `pad` shows an image."""
    red, green, blue = (round(255 * value) for value in p.mean)
    return red, green, blue


def _crop(image: Image.Image, p: Preprocess, resample: Image.Resampling) -> Image.Image:
    left, top, width, height = _bounded(*image.size)
    if (width, height) != image.size:
        image = image.crop((left, top, left + width, top + height))
    resized = _cropped_from(width, height, p)
    if image.size != resized:
        image = image.resize(resized, resample)
    left, top = _centered(resized, p)
    return image.crop((left, top, left + p.size, top + p.size))


def _bounded(width: int, height: int) -> tuple[int, int, int, int]:
    """The center of an image whose sides are too far apart: left, top, width, height."""
    limit = _LONGEST * min(width, height)
    inner_width, inner_height = min(width, limit), min(height, limit)
    return (width - inner_width) // 2, (height - inner_height) // 2, inner_width, inner_height


def _cropped_from(width: int, height: int, p: Preprocess) -> Sides:
    """What an image of this size is resized to before it is cropped."""
    side = resized_side(p)
    return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)


def _centered(resized: Sides, p: Preprocess) -> tuple[int, int]:
    width, height = resized
    return round((width - p.size) / 2), round((height - p.size) / 2)


def _pad(image: Image.Image, p: Preprocess, resample: Image.Resampling) -> Image.Image:
    left, top, right, bottom = _framed(*image.size, p)
    square = Image.new("RGB", (p.size, p.size), fill_color(p))
    square.paste(image.resize((right - left, bottom - top), resample), (left, top))
    return square


def _framed(width: int, height: int, p: Preprocess) -> tuple[int, int, int, int]:
    """Where `pad` shows an image of this size: left, top, right, bottom."""
    scale = p.size / max(width, height)
    inner_width, inner_height = (max(1, round(side * scale)) for side in (width, height))
    left, top = (p.size - inner_width) // 2, (p.size - inner_height) // 2
    return left, top, left + inner_width, top + inner_height


def shown(width: int, height: int, p: Preprocess) -> tuple[tuple[float, float, float, float], tuple[int, ...]]:
    """Which part of an image of this size `fit_image` shows, and where.

    Returns:
        The part of the image that the whole input stands for, in its pixels, which `pad` takes from beyond its borders;
        the part of the input that shows the image, in pixels of the input. Both are left, top, right, bottom.
    """
    everything, whole = (0.0, 0.0, float(width), float(height)), (0, 0, p.size, p.size)
    if (width, height) == (p.size, p.size) or p.fit == "stretch":
        return everything, whole
    if p.fit == "pad":
        left, top, right, bottom = frame = _framed(width, height, p)
        across, down = width / (right - left), height / (bottom - top)
        return (-left * across, -top * down, (p.size - left) * across, (p.size - top) * down), frame
    outer_left, outer_top, inner_width, inner_height = _bounded(width, height)
    resized = _cropped_from(inner_width, inner_height, p)
    across, down = inner_width / resized[0], inner_height / resized[1]
    left, top = _centered(resized, p)
    box = left * across, top * down, (left + p.size) * across, (top + p.size) * down
    return (outer_left + box[0], outer_top + box[1], outer_left + box[2], outer_top + box[3]), whole
