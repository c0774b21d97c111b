"""The colors of training images, against NumPy over all pixels at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.errors import DataError
from finetune_advisor.images import color_statistics as module
from finetune_advisor.images.color_statistics import pixel_colors

ImageFolder = Callable[..., Path]


def test_they_are_mean_and_covariance_over_all_pixels(image_folder: ImageFolder) -> None:
    paths = sorted(image_folder({"ants": 4, "bees": 3}).rglob("*.png"))
    pixels_PC = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in paths]) / 255
    colors = pixel_colors(paths)
    assert colors.mean == pytest.approx(pixels_PC.mean(axis=0))
    assert np.array(colors.covariance) == pytest.approx(np.cov(pixels_PC.T, bias=True))
    assert colors.std == pytest.approx(pixels_PC.std(axis=0))


def test_of_very_many_images_evenly_spaced_ones_are_looked_at(
    image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COLOR_IMAGES", 3)
    paths = sorted(image_folder({"ants": 5}).rglob("*.png"))
    assert pixel_colors(paths) == pixel_colors([paths[0], paths[2], paths[4]])


def test_an_image_that_vanished_is_named(image_folder: ImageFolder) -> None:
    paths = sorted(image_folder({"ants": 2}).rglob("*.png"))
    paths[1].unlink()
    with pytest.raises(DataError, match=r"001\.png cannot be read any more"):
        pixel_colors(paths)
