"""Good files become upright images of the right size; bad ones are refused in a person's words."""

import base64
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm.data
from PIL import Image, ImageOps, PngImagePlugin

from finetune_advisor.errors import DataError, UnreadableImage
from finetune_advisor.images import decode
from finetune_advisor.images.color import to_rgb
from finetune_advisor.images.decode import read_image, read_image_for, to_array
from finetune_advisor.loading.fit import fit_image
from finetune_advisor.techniques.preprocessing import Fit, Interpolation, Preprocess

INCEPTION = (0.5, 0.4, 0.3)


def settings(
    size: int = 64, *, fit: Fit = "crop", crop_pct: float = 0.875, interpolation: Interpolation = "bicubic"
) -> Preprocess:
    return Preprocess(size, fit, crop_pct, interpolation, INCEPTION, (0.5, 0.5, 0.5))


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth shapes with fine noise, so that both shifts and blur show."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height), 3)
    noise_HWC = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + noise_HWC).clip(0, 255).astype(np.uint8))


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    assert str(path) not in caught.value.message, "the caller names the file"
    return caught.value.message


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_the_cameras_rotation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)
    upright[16:, 32:] = (0, 0, 255)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = Image.fromarray(upright)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    stored.save(tmp_path / f"x.{suffix}", exif=exif.tobytes() if suffix != "tif" else exif, **options)
    read = read_image(tmp_path / f"x.{suffix}")
    assert read.size == (48, 32)
    assert np.abs(np.asarray(read, np.int64) - upright).mean() < 6


def test_damaged_metadata_leaves_the_pixels(tmp_path: Path) -> None:
    photo(20, 10).save(tmp_path / "x.png", exif=b"Exif\0\0not a tiff header")
    assert read_image(tmp_path / "x.png").size == (20, 10)


def test_jpeg_is_decoded_small_when_that_is_enough(tmp_path: Path) -> None:
    photo(800, 600).save(tmp_path / "x.jpg", quality=95)
    assert read_image(tmp_path / "x.jpg").size == (800, 600)
    assert read_image(tmp_path / "x.jpg", at_least=301).size == (800, 600)
    assert read_image(tmp_path / "x.jpg", at_least=300).size == (400, 300)
    assert read_image(tmp_path / "x.jpg", at_least=75).size == (100, 75)
    small = np.asarray(read_image(tmp_path / "x.jpg", at_least=300).resize((100, 75)), np.float64)
    full = np.asarray(read_image(tmp_path / "x.jpg").resize((100, 75)), np.float64)
    assert np.abs(small - full).mean() < 1.5


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    photo(64, 64).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "cut short" in reason(path) or "damaged" in reason(path)


def test_a_truncated_photograph_is_called_so(tmp_path: Path) -> None:
    photo(300, 300).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes()[:-2000])
    assert reason(tmp_path / "x.jpg") == "it is cut short: the end of the file is missing"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"just text", "it is not an image"),
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"\n<svg xmlns='x'/>", "an SVG drawing"),
        (b"%PDF-1.7", "a PDF document"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(4) + b"\0\0\0\x0a\x08\x02\0\0\0", "it has no pixels"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "it is cut short"),
        (b"GIF89a\x09\0\0\0\x80\0\0", "it has no pixels"),
        (b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, 0, 5, 1, 24) + bytes(24), "it has no pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not an image"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    assert says in reason(tmp_path / "x.jpg")


def test_a_vanished_file_and_a_folder(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.jpg") == "the file is gone"
    (tmp_path / "x.jpg").mkdir()
    assert reason(tmp_path / "x.jpg") == "it is a folder"


def test_a_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    photo(8, 8).save(path)
    path.chmod(0)
    script = f"""
import os
from finetune_advisor.images.decode import read_image
from finetune_advisor.errors import UnreadableImage
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    read_image({str(path)!r})
except UnreadableImage as error:
    print(error)
"""
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if "pytest" in str(folder):
                folder.chmod(0o755)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"no unprivileged process to be had here: {ended.stderr.splitlines()[-1]}")
    assert ended.stdout.strip() == "no permission to read it"


HEIC = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<00042ZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=I"
    "V*mgE07O6l0RRC200001dH?|c00000004gg001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002i"
    "X>f9I0002DX>en20001ZXm(>m0RwOV0058x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDD?$MQ"
    "18@KU0|1Z!00RI30{|YNFo6Y@>PacCZUPz%2mk;B0LTCU0{{p>VgLaE2SfqEa<C#m0000JV{dG7ZewhC0096E00w{n000zeb8uw<"
    "00000003YB002M$000nhX?SS>000032nYxO000+haBX1#00000000310R({p0|Wp70Eca4VRQfh0DC9_uM>cIB@<Lf|NgvS@BUi`"
    "fAc`eV5)!nH*@c9BLB}jB|ILa*c{yj0p=v&@jk(HZxE0CYhjAu&vFp2g$;Yx#Q&Xt(M=Oni{<1sfmFMn|NqXWjC?4c|3@{v9tZJ1"
    "MNj|C*VoN*@zd$6-Wm>h8A7aP?M|v!-~"
)
"""96 x 64 pixels, black with a red quarter at the top left and a blue one at the bottom right."""


def test_a_heic_photograph_is_read_where_pi_heif_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    (tmp_path / "x.heic").write_bytes(HEIC)
    read = read_image(tmp_path / "x.heic")
    assert read.size == (96, 64)
    pixels_HWC = np.asarray(read, dtype=int)
    assert np.abs(pixels_HWC[10, 20] - (255, 0, 0)).max() < 40
    assert np.abs(pixels_HWC[50, 80] - (0, 0, 255)).max() < 40
    (tmp_path / "x.heic").write_bytes(HEIC[:-60])
    assert reason(tmp_path / "x.heic").startswith(("it is damaged", "it is cut short"))


def test_a_heic_photograph_is_named_where_pi_heif_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.jpg").write_bytes(HEIC)
    monkeypatch.setattr(decode, "_formats", lambda: ("JPEG", "PNG"))
    assert reason(tmp_path / "x.jpg") == "it is a HEIC image, to read it: `pip install pi-heif`"


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_460, 20_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "x.png").write_bytes(png_claiming(side, side))
    assert "more than the limit of 89,478,485 pixels" in reason(tmp_path / "x.png")


def test_bombs_are_refused_where_warnings_are_errors(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_claiming(10_000, 10_000))
    assert "more than the limit" in reason(tmp_path / "x.png")


def jpeg_of(path: Path, width: int, height: int, **options: Any) -> None:
    """A JPEG of one color, written without much memory."""
    Image.new("L", (width, height), 90).save(path, quality=20, **options)


def test_a_jpeg_above_the_limit_is_decoded_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 90_000)
    jpeg_of(tmp_path / "x.jpg", 600, 500)
    assert read_image(tmp_path / "x.jpg", at_least=100).size == (150, 125)
    assert read_image_for(tmp_path / "x.jpg", [100]).size == (600, 500)
    assert reason(tmp_path / "x.jpg") == (
        "600 x 500 pixels are more than the limit of 90,000 pixels; scale it down, or set FINETUNE_ADVISOR_MAX_PIXELS "
        "higher"
    ), "every pixel was asked for"


@pytest.mark.parametrize(("size", "options"), [((700, 600), {}), ((500, 400), {"progressive": True})])
def test_a_jpeg_far_above_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, ...], options: dict[str, bool]
) -> None:
    """All of a progressive one lies in memory, however small it is decoded."""
    monkeypatch.setattr(decode, "MAX_PIXELS", 90_000)
    jpeg_of(tmp_path / "x.jpg", *size, **options)
    with pytest.raises(UnreadableImage, match="more than the limit of 90,000 pixels"):
        read_image(tmp_path / "x.jpg", at_least=50)


def test_a_photograph_of_108_megapixels(tmp_path: Path) -> None:
    jpeg_of(tmp_path / "x.jpg", 12_000, 9_000)
    assert read_image(tmp_path / "x.jpg", at_least=896).size == (1500, 1125)


def test_the_limit_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(40, 30).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for limit, reads in (("1199", False), ("1200", True)):
        monkeypatch.setenv("FINETUNE_ADVISOR_MAX_PIXELS", limit)
        if reads:
            assert read_image(tmp_path / "x.png").size == (40, 30)
        else:
            assert "more than the limit of 1,199 pixels" in reason(tmp_path / "x.png")


@pytest.mark.parametrize("limit", ["many", "-1", "0", "1e9"])
def test_a_limit_that_is_no_number_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("FINETUNE_ADVISOR_MAX_PIXELS", limit)
    with pytest.raises(DataError, match=f"FINETUNE_ADVISOR_MAX_PIXELS is '{limit}'"):
        decode.decoder_key()


def incompressible(size: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()


@pytest.mark.parametrize("what", ["packed text", "many texts", "profile"])
def test_a_png_with_over_1_mb_beside_its_pixels_is_read(tmp_path: Path, what: str) -> None:
    image, info = photo(40, 30), PngImagePlugin.PngInfo()
    options: dict[str, Any] = {}
    match what:
        case "packed text":
            info.add_text("workflow", "x" * 2**21, zip=True)
        case "many texts":
            for number in range(70):
                info.add_text(f"part {number}", "x" * 2**20)
        case "profile":
            options["icc_profile"] = incompressible(2**21)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "x.png", pnginfo=info, exif=exif.tobytes(), **options)
    with pytest.raises(ValueError, match=r"MAX_TEXT|text"), Image.open(tmp_path / "x.png") as refused:
        refused.load()
    assert same_pixels(read_image(tmp_path / "x.png"), image.transpose(Image.Transpose.ROTATE_270))


def test_the_orientation_in_a_text_of_such_a_png_counts(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 2**21, zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    photo(40, 30).save(tmp_path / "x.png", pnginfo=info)
    assert same_pixels(read_image(tmp_path / "x.png"), photo(40, 30).transpose(Image.Transpose.ROTATE_180))


def test_a_damaged_png_with_much_text_is_still_refused(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 2**21, zip=True)
    photo(40, 30).save(tmp_path / "x.png", pnginfo=info)
    content = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(content[: len(content) - 500])
    assert "cut short" in reason(tmp_path / "x.png") or "damaged" in reason(tmp_path / "x.png")


def test_the_limit_is_pillows() -> None:
    assert Image.MAX_IMAGE_PIXELS == decode.MAX_PIXELS


def test_an_image_without_pixels(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_claiming(0, 5))
    assert reason(tmp_path / "x.png")


WAYS: dict[str, dict[str, Any]] = {
    "gray.png": {},
    "color.png": {"orientation": 6},
    "palette.gif": {},
    "color.jpg": {"orientation": 6},
    "progressive.jpg": {"progressive": True},
    "color.bmp": {},
    "plain.tif": {"orientation": 6},
    "deflate.tif": {"compression": "tiff_adobe_deflate"},
    "lzw.tif": {"compression": "tiff_lzw"},
    "color.webp": {},
}


def saved_as(path: Path, *, orientation: int | None = None, **options: Any) -> bytes:
    image = photo(24, 16, seed=1)
    if path.name.startswith("gray"):
        image = image.convert("L")
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(path, **options)
    return path.read_bytes()


def pillow_reads(path: Path) -> Image.Image | None:
    """What Pillow makes of all pixels when it is asked for them once, upright; None where it refuses."""
    try:
        with Image.open(path, formats=decode._formats()) as image:
            image.load()
            try:
                return to_rgb(ImageOps.exif_transpose(image))
            except decode._DAMAGE:  # of the metadata
                return to_rgb(image)
    except decode._DAMAGE:
        return None


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.filterwarnings("ignore")
def test_640_damaged_files_are_read_or_refused_as_pillow_does(tmp_path: Path, name: str) -> None:
    """64 of each kind: 40 with flipped bits anywhere, 24 cut short."""
    path = tmp_path / name
    whole = saved_as(path, **WAYS[name])
    rng = np.random.default_rng(len(whole))
    refused = 0
    for turn in range(64):
        data = bytearray(whole)
        if turn < 40:
            for place in rng.integers(0, len(data), 1 + turn % 3):
                data[place] ^= 1 << int(rng.integers(8))
        else:
            del data[int(rng.integers(1, len(data))) :]
        path.write_bytes(data)
        expected = pillow_reads(path)
        try:
            read = read_image(path)
        except UnreadableImage:
            refused += 1
            assert expected is None, turn
            continue
        assert expected is not None, turn
        assert same_pixels(read, expected), turn
    assert refused > 8, "or the test shows nothing"


SIZES = [(500, 333), (333, 500), (301, 299), (64, 200), (73, 73), (40, 30), (65, 64), (1000, 70)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize(("size", "crop_pct"), [(64, 0.875), (64, 1.0), (75, 0.9), (61, 0.95)])
def test_crop_is_timms_evaluation_transform(size: int, crop_pct: float, interpolation: Interpolation) -> None:
    timms = timm.data.create_transform(
        size, interpolation=interpolation, crop_pct=crop_pct, normalize=False, mean=INCEPTION
    )
    p = settings(size, crop_pct=crop_pct, interpolation=interpolation)
    for width, height in SIZES:
        image = photo(width, height)
        ours = to_array(fit_image(image, p)).astype(np.int64)
        assert np.abs(ours - timms(image).numpy()).max() <= 1, (width, height)


def test_pad_is_timms_border_mode_on_the_mean_color() -> None:
    timms = timm.data.create_transform(
        64, interpolation="bicubic", crop_pct=1.0, crop_mode="border", normalize=False, mean=INCEPTION
    )
    for width, height in SIZES:
        image = photo(width, height)
        ours = to_array(fit_image(image, settings(fit="pad"))).astype(np.int64)
        assert np.abs(ours - timms(image).numpy()).max() <= 1, (width, height)


def test_pad_shows_the_whole_image() -> None:
    square = np.asarray(fit_image(Image.new("RGB", (200, 100), "red"), settings(fit="pad")))
    assert (square[16:48] == (255, 0, 0)).all()
    assert (square[:16] == (128, 102, 76)).all()
    assert (square[48:] == (128, 102, 76)).all()


def test_stretch_fills_the_square() -> None:
    image = photo(200, 100)
    assert fit_image(image, settings(fit="stretch")).tobytes() == image.resize((64, 64), 3).tobytes()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_image_of_the_right_size_is_left_alone(fit: Fit) -> None:
    image = photo(64, 64)
    assert fit_image(image, settings(fit=fit)) is image


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50_000), (50_000, 1), (3, 2)])
def test_extreme_shapes_fit(fit: Fit, size: tuple[int, int]) -> None:
    assert fit_image(Image.new("RGB", size, "red"), settings(fit=fit)).size == (64, 64)


def test_to_array_is_channels_first() -> None:
    array_CHW = to_array(Image.new("RGB", (5, 4), (1, 2, 3)))
    assert array_CHW.shape == (3, 4, 5)
    assert array_CHW.dtype == np.uint8
    assert array_CHW[:, 0, 0].tolist() == [1, 2, 3]


def test_a_real_photograph_reads(shared_data: Path) -> None:
    path = next(iter(sorted(Path(shared_data / "hymenoptera" / "train" / "ants").iterdir())))
    assert min(read_image(path).size) > 100
