"""Pictures on the page are small, upright, part of the page, and never the reason that there is none."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from finetune_advisor.reporting.gallery import SIDE, thumbnails


def opened(address: str) -> Image.Image:
    kind, _, data = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("size", [(1200, 800), (20, 30), (4000, 3), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1"])
def test_any_size_and_mode_becomes_a_small_jpeg(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    path = tmp_path / "a.tiff"
    Image.new(mode, size).save(path)
    image = opened(thumbnails(["a"], {"a": path})["a"])
    assert max(image.size) <= SIDE and image.mode == "RGB"


def test_it_shows_the_picture(tmp_path: Path) -> None:
    half_HWC = np.zeros((400, 600, 3), np.uint8)
    half_HWC[:, 300:] = (250, 200, 20)
    path = tmp_path / "a.png"
    Image.fromarray(half_HWC).save(path)
    small_HWC = np.asarray(opened(thumbnails(["a"], {"a": path})["a"])).astype(int)
    height, width = small_HWC.shape[:2]
    assert width / height == pytest.approx(1.5, abs=0.03)
    assert np.abs(small_HWC[:, : width // 2 - 4]).mean() < 8
    assert np.abs(small_HWC[:, width // 2 + 4 :] - (250, 200, 20)).mean() < 8


def test_the_camera_rotation_is_applied(tmp_path: Path) -> None:
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (300, 100)).save(path, exif=exif)
    image = opened(thumbnails(["a"], {"a": path})["a"])
    assert image.height > image.width


def test_what_cannot_be_drawn_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8 no image")
    good = tmp_path / "good.png"
    Image.new("RGB", (9, 9)).save(good)
    images = {"bad": bad, "gone": tmp_path / "gone.jpg", "folder": tmp_path, "good": good}
    with caplog.at_level("INFO", "finetune_advisor"):
        found = thumbnails(["bad", "gone", "unknown", "folder", "good"], images)
    assert set(found) == {"good"}
    assert all(name in caplog.text for name in ("'bad'", "'gone'", "'unknown'", "'folder'"))
