"""One decoding serves several nets, and each sees what it would see alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune_advisor.loading.augmented import BadImage, eval_views
from finetune_advisor.loading.batches import eval_batches
from finetune_advisor.techniques.preprocessing import Preprocess

P = Preprocess(16, "crop", 0.875, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
OTHERS = (
    replace(P, size=24),
    replace(P, fit="stretch"),
    replace(P, fit="pad"),
    replace(P, fit="pad", mean=(0.1, 0.9, 0.1)),
    replace(P, crop_pct=1.0),
    replace(P, interpolation="nearest"),
)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Formats of the images whose pixels were decoded."""
    from finetune_advisor.images import decode

    found: list[str] = []
    original: Callable[..., Image.Image] = decode._upright_rgb

    def recording(image: Image.Image, *others: object) -> Image.Image:
        found.append(str(image.format))
        return original(image, *others)

    monkeypatch.setattr(decode, "_upright_rgb", recording)
    return found


def photo(path: Path, size: tuple[int, int]) -> Path:
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    Image.fromarray(pixels_HWC).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("suffix", "size"), [(".png", (90, 70)), (".jpg", (90, 70)), (".jpg", (880, 700))])
def test_pixels_are_those_of_a_view_alone(
    tmp_path: Path, other: Preprocess, suffix: str, size: tuple[int, int]
) -> None:
    path = photo(tmp_path / f"photo{suffix}", size)
    [made] = eval_views([path], [P, other], batch=4, workers=0)
    for view in (P, other):
        [alone] = eval_batches([path], view, batch=4, workers=0)
        assert torch.equal(made.pixels[view], alone.x_BCHW)


def test_views_that_differ_only_in_normalization_share_their_pixels(tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", (90, 70))
    other = replace(P, mean=(0, 0, 0), std=(1, 1, 1))
    [made] = eval_views([path], [P, other], batch=4, workers=0)
    assert made.pixels[P] is made.pixels[other]


@pytest.mark.parametrize("views", [[replace(P, size=200)], [replace(P, size=400), P]])
def test_a_thumbnail_does_not_depend_on_what_else_an_image_is_decoded_for(
    tmp_path: Path, views: list[Preprocess]
) -> None:
    """Else the copies that one command finds would be others than those of the next one."""
    path = photo(tmp_path / "photo.jpg", (1600, 1200))
    [small], [made] = (list(eval_views([path], some, batch=4, workers=0)) for some in ([P], views))
    assert np.array_equal(small.looks.thumbnails_NHW, made.looks.thumbnails_NHW)


def test_an_image_is_decoded_once_for_all_views(tmp_path: Path, loads: list[str]) -> None:
    paths = [photo(tmp_path / f"photo{suffix}", (60, 50)) for suffix in (".png", ".jpg")]
    list(eval_views(paths, [P, *OTHERS], batch=4, workers=0))
    assert loads == ["PNG", "JPEG"]


def test_a_large_jpeg_is_decoded_once_per_scale(tmp_path: Path, loads: list[str]) -> None:
    path = photo(tmp_path / "photo.jpg", (1600, 1600))
    list(eval_views([path], [replace(P, size=size) for size in (224, 225, 400)], batch=4, workers=0))
    assert len(loads) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_bad_in_itself_is_told_from_what_cannot_be_opened(tmp_path: Path, workers: int) -> None:
    paths = [photo(tmp_path / "good.png", (90, 70)), tmp_path / "empty.png", tmp_path / "gone.png"]
    paths[1].touch()
    [made] = eval_views(paths, [P, OTHERS[0]], batch=4, workers=workers)
    assert made.bad == [BadImage(1, "the file is empty", True), BadImage(2, "the file is gone", False)]
    assert [len(made.pixels[view]) for view in (P, OTHERS[0])] == [1, 1]
