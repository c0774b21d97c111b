"""The covariance between the pixels of training images, against NumPy over all images at once.

Shapes: N images, D numbers of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from finetune_advisor.errors import DataError
from finetune_advisor.techniques.preprocessing import Preprocess
from finetune_advisor.training import prepare as module
from finetune_advisor.training.prepare import pixel_covariance

ImageFolder = Callable[..., Path]
PREPROCESS = Preprocess(8, "stretch", 1.0, "nearest", (0.5, 0.4, 0.3), (1.0, 0.5, 1.0))


def pixels(paths: list[Path]) -> npt.NDArray[np.float64]:
    images = [np.asarray(Image.open(path)).transpose(2, 0, 1) / 255 for path in paths]
    mean_C, std_C = np.array(PREPROCESS.mean), np.array(PREPROCESS.std)
    normalized_NCHW: npt.NDArray[np.float64] = (np.stack(images) - mean_C[:, None, None]) / std_C[:, None, None]
    return normalized_NCHW.reshape(len(paths), -1)


def test_it_is_the_covariance_of_normalized_images(image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, the last of which is smaller."""
    monkeypatch.setattr(module, "BATCH", 3)
    paths = sorted(image_folder({"ants": 4, "bees": 3}, size=(8, 8)).rglob("*.png"))
    mean_D, covariance_DD = pixel_covariance(paths, PREPROCESS, workers=0)
    x_ND = pixels(paths)
    np.testing.assert_allclose(mean_D, x_ND.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(covariance_DD, np.cov(x_ND.T, bias=True), atol=1e-6)


def test_of_very_many_images_evenly_spaced_ones_are_looked_at(
    image_folder: ImageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COVARIANCE_IMAGES", 3)
    paths = sorted(image_folder({"ants": 5}, size=(8, 8)).rglob("*.png"))
    mean_D, _ = pixel_covariance(paths, PREPROCESS, workers=0)
    np.testing.assert_allclose(mean_D, pixels([paths[0], paths[2], paths[4]]).mean(axis=0), atol=1e-6)


def test_an_image_that_vanished_is_named(image_folder: ImageFolder) -> None:
    paths = sorted(image_folder({"ants": 2}, size=(8, 8)).rglob("*.png"))
    paths[1].unlink()
    with pytest.raises(DataError, match=r"001\.png cannot be read any more"):
        pixel_covariance(paths, PREPROCESS, workers=0)
