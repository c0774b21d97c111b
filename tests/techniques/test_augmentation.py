"""Augmentations: what they do to pixels, and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as reference

from finetune_advisor.techniques.augmentation import ColorJitter, HorizontalFlip, RandomCrop, VerticalFlip


def picture(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("probability", "mirrored"), [(0.0, 0), (0.5, 200), (1.0, 400)])
def test_flip_mirrors_the_stated_share_of_images(probability: float, mirrored: int) -> None:
    flip, rng, image = HorizontalFlip(probability=probability), np.random.default_rng(0), picture()
    mirror = np.asarray(image)[:, ::-1]
    seen = sum(np.array_equal(np.asarray(flip.apply(image, rng, 32)), mirror) for _ in range(400))
    assert seen == pytest.approx(mirrored, abs=40 if 0 < probability < 1 else 0)


@pytest.mark.parametrize("shape", [(300, 200), (90, 400)], ids=["landscape", "so tall that boxes often do not fit"])
def test_crop_has_the_statistics_of_torchvision(shape: tuple[int, int]) -> None:
    width, height = shape
    crop, rng = RandomCrop(scale=(0.3, 1.0)), np.random.default_rng(0)
    boxes = np.array([crop.box(width, height, rng) for _ in range(4000)])
    ours = np.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(1, height, width)
        drawn = [RandomResizedCrop.get_params(image, [0.3, 1.0], [0.75, 1.3333]) for _ in range(4000)]
    theirs = np.array(drawn, dtype=float)[:, [1, 0, 3, 2]]
    assert ours.mean(axis=0) == pytest.approx(theirs.mean(axis=0), abs=0.02 * max(shape))
    assert ours.std(axis=0) == pytest.approx(theirs.std(axis=0), abs=0.02 * max(shape))


@pytest.mark.parametrize("shape", [(500, 300), (20, 300), (1, 1), (300, 3)])
def test_crop_is_exactly_the_size_of_the_input_whatever_the_image(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert RandomCrop().apply(picture(*shape), rng, 48).size == (48, 48)


def test_crop_of_everything_is_a_plain_resize() -> None:
    image = picture(64, 64)
    crop = RandomCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    expected = image.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(crop.apply(image, np.random.default_rng(0), 32)), np.asarray(expected))


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.1)])
def test_crop_refuses_a_scale_that_is_no_range(scale: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="0 < smallest <= largest <= 1"):
        RandomCrop(scale=scale)


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation"])
def test_jitter_changes_what_it_says_as_torchvision_does(key: str) -> None:
    image = picture()
    settings = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, key: 0.4}
    jittered = np.asarray(ColorJitter(**settings).apply(image, np.random.default_rng(0), 32), dtype=int)
    adjust = getattr(reference, f"adjust_{key}")
    candidates = [np.asarray(adjust(image, factor), dtype=int) for factor in np.linspace(0.6, 1.4, 801)]
    assert min(np.abs(jittered - candidate).max() for candidate in candidates) <= 1
    assert not np.array_equal(jittered, np.asarray(image))


def test_jitter_of_nothing_changes_nothing() -> None:
    still = ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0)
    assert np.array_equal(np.asarray(still.apply(picture(), np.random.default_rng(0), 32)), np.asarray(picture()))


def test_vertical_flip_mirrors_top_to_bottom_and_half_of_the_time() -> None:
    image, rng = picture(), np.random.default_rng(0)
    upside_down = np.asarray(image)[::-1]
    assert np.array_equal(np.asarray(VerticalFlip(probability=1.0).apply(image, rng, 32)), upside_down)
    seen = sum(np.array_equal(np.asarray(VerticalFlip().apply(image, rng, 32)), upside_down) for _ in range(400))
    assert seen == pytest.approx(200, abs=40)
