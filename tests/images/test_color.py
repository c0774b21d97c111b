"""Every color mode comes out as the RGB a person would see."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from finetune_advisor.errors import UnreadableImage
from finetune_advisor.images.decode import read_image

RED = (255, 0, 0)


def saved(tmp_path: Path, image: Image.Image, name: str, **options: Any) -> Image.Image:
    image.save(tmp_path / name, **options)
    return read_image(tmp_path / name)


def filled(mode: str, color: float | tuple[int, ...]) -> Image.Image:
    return Image.new(mode, (6, 4), color)


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (filled("L", 90), "gray.png", (90, 90, 90)),
        (filled("1", 1), "bits.png", (255, 255, 255)),
        (filled("LA", (0, 0)), "gray_alpha.png", (255, 255, 255)),
        (filled("RGBA", (255, 0, 0, 255)), "opaque.png", RED),
        (filled("RGBA", (255, 0, 0, 0)), "clear.png", (255, 255, 255)),
        (filled("RGBA", (255, 0, 0, 51)), "half.png", (255, 204, 204)),
        (filled("RGBA", (255, 0, 0, 51)), "half.tif", (255, 204, 204)),
        (filled("RGB", RED).convert("P"), "palette.png", RED),
        (filled("CMYK", (0, 255, 255, 0)), "cmyk.tif", RED),
        (filled("RGB", RED), "flat.bmp", RED),
        (filled("RGB", RED), "flat.ppm", RED),
        (filled("L", 90), "flat.pgm", (90, 90, 90)),
    ],
)
def test_color_modes(tmp_path: Path, image: Image.Image, name: str, expected: tuple[int, ...]) -> None:
    read = saved(tmp_path, image, name)
    assert read.mode == "RGB"
    assert read.size == (6, 4)
    assert np.asarray(read).reshape(-1, 3).tolist() == [list(expected)] * 24


@pytest.mark.parametrize(("name", "options"), [("x.jpg", {}), ("x.webp", {"lossless": True}), ("x.gif", {})])
def test_lossy_formats(tmp_path: Path, name: str, options: dict[str, bool]) -> None:
    read = saved(tmp_path, filled("RGB", RED), name, **options)
    assert np.abs(np.asarray(read, np.int64) - RED).max() < 10


def test_cmyk_photographs_are_not_inverted(tmp_path: Path) -> None:
    read = saved(tmp_path, filled("CMYK", (0, 255, 255, 0)), "print.jpg")
    assert np.abs(np.asarray(read, np.int64) - RED).max() < 10


def test_a_transparent_palette_entry_shows_white(tmp_path: Path) -> None:
    image = filled("P", 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)
    for name in ("x.png", "x.gif"):
        read = saved(tmp_path, image, name, transparency=0)
        assert read.getpixel((0, 0)) == (255, 255, 255)
        assert read.getpixel((1, 1)) == RED


def test_a_transparent_color_shows_white(tmp_path: Path) -> None:
    assert saved(tmp_path, filled("RGB", RED), "x.png", transparency=RED).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bit_gray_keeps_its_scale(tmp_path: Path, name: str) -> None:
    gray_HW = np.array([[0, 257, 25700], [128, 129, 65535]], np.uint16)
    read = saved(tmp_path, Image.fromarray(gray_HW), name)
    assert np.asarray(read)[..., 0].tolist() == [[0, 1, 100], [0, 1, 255]]


def test_a_dark_16_bit_image_stays_dark(tmp_path: Path) -> None:
    read = saved(tmp_path, Image.fromarray(np.full((4, 4), 2570, np.uint16)), "x.png")
    assert read.getpixel((0, 0)) == (10, 10, 10)


def test_big_endian_16_bit_gray(tmp_path: Path) -> None:
    gray_HW = np.array([[0, 25700, 65535]], ">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 3 1 65535\n" + gray_HW.tobytes())
    assert np.asarray(read_image(tmp_path / "x.pgm"))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0001]], np.float32), [0, 128, 255]),
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
    ],
)
def test_numbers_on_the_scale_of_their_type(tmp_path: Path, values: npt.NDArray[Any], expected: list[int]) -> None:
    assert np.asarray(saved(tmp_path, Image.fromarray(values), "x.tif"))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.0, 100.0, 255.0]], np.float32),
        np.array([[-1.0, 0.0, 1.0]], np.float32),
        np.array([[70000, 70000, 70000]], np.int32),
        np.array([[-100000, 0, 100000]], np.int32),
    ],
)
def test_numbers_off_the_scale_of_their_type_are_refused_rather_than_scaled_one_by_one(
    tmp_path: Path, values: npt.NDArray[Any]
) -> None:
    with pytest.raises(UnreadableImage, match=r"nothing says which are black and white: set preprocessing.value_range"):
        saved(tmp_path, Image.fromarray(values), "x.tif")


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([[0, 2048, 4095, 65535]], np.uint16), (0, 4095), [0, 128, 255, 255]),
        (np.array([[0, 512, 1023]], np.uint16), (0, 1023), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.int32), (0, 255), [0, 100, 255]),
        (np.array([[-1000, 0, 1000, 3000]], np.int32), (-1000, 1000), [0, 128, 255, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), (-1, 1), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.7]], np.float32), (0, 1), [0, 128, 255]),
        (np.array([[30000, 30500, 31000]], np.uint16), (30000, 31000), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.uint8), (0, 4095), [0, 100, 255]),
    ],
)
def test_numbers_on_the_scale_of_the_data_set(
    tmp_path: Path, values: npt.NDArray[Any], value_range: tuple[float, float], expected: list[int]
) -> None:
    Image.fromarray(values).save(tmp_path / "x.tif")
    read = read_image(tmp_path / "x.tif", value_range=value_range)
    assert np.asarray(read)[0].tolist() == [[level] * 3 for level in expected]


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="not numbers"):
        saved(tmp_path, Image.fromarray(np.array([[0.0, np.nan]], np.float32)), "x.tif")


@pytest.mark.parametrize(("mode", "color"), [("LAB", (137, 208, 195)), ("YCbCr", (76, 85, 255))])
def test_colors_that_are_not_rgb(tmp_path: Path, mode: str, color: tuple[int, ...]) -> None:
    read = saved(tmp_path, filled(mode, color), "x.tif")
    assert np.abs(np.asarray(read, np.int64) - RED).max() < 25


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [filled("RGB", color) for color in (RED, (0, 255, 0))]
    read = saved(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert read.getpixel((0, 0)) == RED
