"""Which images have more than 8 bits per channel, and the one scale that is measured on them."""

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin

from finetune_advisor.errors import UnreadableImage
from finetune_advisor.images.color_statistics import value_scale
from finetune_advisor.images.decode import has_wide_values, read_image, wide_values


def png(path: Path, values_HWC: npt.NDArray[Any], color_type: int) -> Path:
    """A PNG with 16 bits per channel, of which Pillow writes gray ones only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values_HWC.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values_HWC)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


def tiff(
    path: Path,
    values: npt.NDArray[Any],
    *,
    order: Literal["<", ">"] = "<",
    photometric: int = 1,
    sample_format: int = 1,
    planar: int = 1,
    compression: int = 1,
) -> Path:
    """An uncompressed or deflated TIFF of any type of number, byte order and photometric interpretation."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    stored = values if planar == 1 else values.transpose(2, 0, 1)
    planes = [stored] if planar == 1 else list(stored)
    strips = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if compression == 8 else strips
    places = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    bits, n = 8 * values.dtype.itemsize, len(strips)
    end = 8 + sum(map(len, strips))
    bits_at, offsets_at, counts_at = end, end + 2 * channels, end + 2 * channels + 4 * n
    blob = struct.pack(f"{order}{channels}H", *[bits] * channels) + struct.pack(f"{order}{n}I", *places)
    blob += struct.pack(f"{order}{n}I", *map(len, strips))
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits if channels == 1 else bits_at),
        (259, 3, 1, compression),
        (262, 3, 1, photometric),
        (273, 4, n, places[0] if n == 1 else offsets_at),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, n, len(strips[0]) if n == 1 else counts_at),
        (284, 3, 1, planar),
        (339, 3, 1, sample_format),
    ]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", end + len(blob))
    path.write_bytes(start + b"".join(strips) + blob + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return path


GRAY_HW = np.array([[0, 1, 2048], [4094, 4095, 255]], np.uint16)
COLOR_HWC = np.array([[[0, 1, 4095], [256, 2048, 4094]], [[4095, 0, 0], [1000, 2000, 3000]]], np.uint16)


def levels(values: npt.ArrayLike, white: float = 4095) -> list[Any]:
    scaled: list[Any] = np.rint(np.asarray(values, float) * 255 / white).clip(0, 255).astype(int).tolist()
    return scaled


def wide(path: Path) -> npt.NDArray[Any]:
    values = wide_values(path)
    assert values is not None
    return values


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [1, 8])
def test_16_bit_gray_in_either_byte_order(tmp_path: Path, order: Literal["<", ">"], compression: int) -> None:
    path = tiff(tmp_path / "x.tif", GRAY_HW, order=order, compression=compression)
    assert np.array_equal(wide(path), GRAY_HW)
    assert np.asarray(read_image(path, value_range=(0, 4095)))[..., 0].tolist() == levels(GRAY_HW)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("planar", "compression"), [(1, 1), (1, 8), (2, 1)])
def test_16_bit_color_keeps_all_its_bits(
    tmp_path: Path, order: Literal["<", ">"], planar: int, compression: int
) -> None:
    path = tiff(tmp_path / "x.tif", COLOR_HWC, order=order, photometric=2, planar=planar, compression=compression)
    assert np.array_equal(wide(path), COLOR_HWC)
    assert np.asarray(read_image(path, value_range=(0, 4095))).tolist() == levels(COLOR_HWC)


def test_16_bit_color_whose_lower_bits_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", COLOR_HWC, photometric=2, planar=2, compression=8)
    with pytest.raises(UnreadableImage, match="16-bit colors in separate planes"):
        read_image(path, value_range=(0, 4095))
    assert np.asarray(read_image(path)).tolist() == (COLOR_HWC >> 8).tolist()


@pytest.mark.parametrize(("color_type", "alpha"), [(2, False), (6, True), (4, True)])
def test_16_bit_png_in_color_and_with_alpha(tmp_path: Path, color_type: int, alpha: bool) -> None:
    colors_HWC = COLOR_HWC[..., :1] if color_type == 4 else COLOR_HWC
    shown_HW1 = np.array([[[65535], [65535]], [[65535], [0]]], np.uint16)
    path = png(tmp_path / "x.png", np.concatenate([colors_HWC, shown_HW1], axis=2) if alpha else colors_HWC, color_type)
    assert np.array_equal(wide(path), np.broadcast_to(colors_HWC, (2, 2, 3)))
    expected_HWC = np.array(levels(np.broadcast_to(colors_HWC, (2, 2, 3))))
    if alpha:
        expected_HWC[1, 1] = 255
    assert np.asarray(read_image(path, value_range=(0, 4095))).tolist() == expected_HWC.tolist()


def test_16_bit_color_without_a_scale_keeps_its_upper_bits(tmp_path: Path) -> None:
    path = png(tmp_path / "x.png", COLOR_HWC * 16, 2)
    assert np.asarray(read_image(path)).tolist() == (COLOR_HWC * 16 >> 8).tolist()


@pytest.mark.parametrize(
    ("values", "kind", "photometric", "value_range", "expected"),
    [
        (np.array([[0, 25700, 65535]], np.uint16), 1, 0, None, [255, 155, 0]),
        (np.array([[65535, 65535 - 4095]], np.uint16), 1, 0, (0, 4095), [0, 255]),
        (np.array([[0.0, 0.25, 1.0]], np.float32), 3, 0, None, [255, 191, 0]),
        (np.array([[-1000, 0, 1000]], np.int16), 2, 1, (-1000, 1000), [0, 128, 255]),
        (np.array([[-128, 0, 127]], np.int8), 2, 1, (-128, 127), [0, 128, 255]),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), 1, 1, (0, 2**32 - 1), [0, 128, 255]),
        (np.array([[-(2**31), 0, 2**31 - 1]], np.int32), 2, 1, (-(2**31), 2**31 - 1), [0, 128, 255]),
    ],
)
def test_signed_wide_and_inverted_numbers(
    tmp_path: Path,
    values: npt.NDArray[Any],
    kind: int,
    photometric: int,
    value_range: tuple[float, float] | None,
    expected: list[int],
) -> None:
    path = tiff(tmp_path / "x.tif", values, sample_format=kind, photometric=photometric)
    assert has_wide_values(path)
    assert np.asarray(read_image(path, value_range=value_range))[0, :, 0].tolist() == expected


def test_the_orientation_of_16_bit_color_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    png(tmp_path / "x.png", COLOR_HWC, 2)
    content = (tmp_path / "x.png").read_bytes()
    data = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "x.png").write_bytes(content[:33] + chunk + content[33:])
    turned_HWC = np.rot90(COLOR_HWC, -1)
    assert np.asarray(read_image(tmp_path / "x.png", value_range=(0, 4095))).tolist() == levels(turned_HWC)


def write(folder: Path, number: int, values: npt.NDArray[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{number}.tif"
    Image.fromarray(values).save(path)
    return path


def set_of(tmp_path: Path, low: float, high: float, dtype: npt.DTypeLike, *, images: int = 6) -> list[Path]:
    rng = np.random.default_rng(0)
    drawn = (rng.random((images, 40, 40)) * (high - low) + low).astype(dtype)
    return [write(tmp_path / "set", number, values) for number, values in enumerate(drawn)]


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0, 4096, np.uint16, (0, 4095)),
        (0, 1024, np.uint16, (0, 1023)),
        (0, 2**16, np.uint16, (0, 65535)),
        (300, 3000, np.uint16, (0, 4095)),
        (0, 256, np.int32, (0, 255)),
        (0, 1, np.float32, (0, 1)),
        (0, 255, np.float32, (0, 255)),
    ],
)
def test_a_usual_scale_is_recognized(
    tmp_path: Path, low: int, high: int, dtype: npt.DTypeLike, expected: tuple[int, ...]
) -> None:
    scale = value_scale(set_of(tmp_path, low, high, dtype))
    assert scale is not None
    assert scale.range == expected
    assert (scale.images, scale.of, scale.measured, scale.types) == (6, 6, 6, {np.dtype(dtype).name: 6})
    assert scale.clipped == 0


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-1024, 3000, np.int32), (30_000, 31_000, np.uint16), (0.001, 0.002, np.float32)]
)
def test_another_scale_is_that_of_the_values(tmp_path: Path, low: float, high: float, dtype: npt.DTypeLike) -> None:
    scale = value_scale(set_of(tmp_path, low, high, dtype))
    assert scale is not None
    assert scale.range == pytest.approx((low, high), rel=0.01, abs=0.01 * (high - low))
    assert 0 < scale.clipped <= 0.0025


@pytest.mark.parametrize(("dtype", "white", "hot"), [(np.uint16, 4095, 65535), (np.float32, 1, 1.7)])
def test_a_hot_pixel_does_not_set_the_scale(tmp_path: Path, dtype: npt.DTypeLike, white: int, hot: float) -> None:
    paths = set_of(tmp_path, 0, white, dtype)
    values = np.array(Image.open(paths[0]))
    values[3, 3] = hot
    write(tmp_path / "set", 0, values)
    scale = value_scale(paths)
    assert scale is not None
    assert scale.range == (0, white) and scale.highest == pytest.approx(hot)
    assert 0 < scale.clipped < 0.001


def test_a_dark_image_of_a_set_stays_dark(tmp_path: Path) -> None:
    paths = [*set_of(tmp_path, 0, 4096, np.uint16), write(tmp_path / "set", 6, np.full((40, 40), 100, np.uint16))]
    scale = value_scale(paths)
    assert scale is not None
    assert read_image(paths[-1], value_range=scale.range).getpixel((0, 0)) == (6, 6, 6)


def test_ordinary_images_have_no_scale_and_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))
    names = ("x.jpg", "x.png", "x.gif", "x.bmp", "x.webp", "x.tif", "x.ppm")
    for name in names:
        image.save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"no image")
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", None)
    assert value_scale([tmp_path / name for name in (*names, "bad.png", "gone.png")]) is None


def test_8_bit_images_beside_others_are_counted_and_do_not_count(tmp_path: Path) -> None:
    paths = set_of(tmp_path, 0, 4096, np.uint16, images=4)
    paths += [write(tmp_path / "set", number, np.full((9, 9), 255, np.uint8)) for number in (7, 8)]
    scale = value_scale(paths)
    assert scale is not None
    assert (scale.range, scale.images, scale.of) == ((0, 4095), 4, 6)


def test_images_that_cannot_be_read_do_not_count(tmp_path: Path) -> None:
    paths = set_of(tmp_path, 0, 4096, np.uint16, images=3)
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    write(tmp_path / "set", 1, np.full((40, 40), np.nan, np.float32))
    scale = value_scale(paths)
    assert scale is not None
    assert (scale.range, scale.measured, scale.types) == ((0, 4095), 1, {"uint16": 1})


def test_an_image_of_one_value_has_a_scale(tmp_path: Path) -> None:
    scale = value_scale([write(tmp_path / "set", 0, np.full((9, 9), -7, np.int32))])
    assert scale is not None
    assert scale.range == (-7, -6)
