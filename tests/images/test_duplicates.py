"""Copies are found whatever was done to them, and images that are merely alike are not."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from finetune_advisor.images.alignment import band_passed, crop, fit, strangers, too_small, unit
from finetune_advisor.images.duplicates import CROPS, near_duplicates
from finetune_advisor.images.thumbnails import Looks, color_thumbnail, thumbnail

Change = Callable[[Image.Image], Image.Image]


def picture(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Smooth structures of many sizes, as in a photograph."""
    rng = np.random.default_rng(seed)
    total_HWC = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12, 24, 48):
        noise_HWC = rng.uniform(0, 255, (cells, cells, 3)).astype(np.uint8)
        layer = Image.fromarray(noise_HWC).resize(size, Image.Resampling.BICUBIC)
        total_HWC += np.asarray(layer, np.float64) / cells**0.5
    low, high = total_HWC.min(), total_HWC.max()
    return Image.fromarray(((total_HWC - low) / (high - low) * 255).astype(np.uint8))


def looks_of(images: Sequence[Image.Image]) -> Looks:
    sizes_N2 = np.array([image.size for image in images])
    thumbnails, colors = zip(*((thumbnail(image), color_thumbnail(image)) for image in images), strict=True)
    return Looks(np.stack(thumbnails), sizes_N2, ("RGB",) * len(images), np.stack(colors))


def found(images: Sequence[Image.Image]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in near_duplicates(looks_of(images))}


def alarms(images: Sequence[Image.Image]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in near_duplicates(looks_of(images)) if pair.confirmed}


def recompressed(image: Image.Image, quality: int = 40) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cut(left: float, top: float, share: float = 0.95) -> Change:
    """A crop that keeps this share of each side; `left` and `top` say where the rest is cut off."""

    def change(image: Image.Image) -> Image.Image:
        width, height = round(image.width * share), round(image.height * share)
        x, y = round((image.width - width) * left), round((image.height - height) * top)
        return image.crop((x, y, x + width, y + height))

    return change


CHANGES: dict[str, Change] = {
    "smaller": lambda image: image.resize((100, 75), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((480, 360), Image.Resampling.BICUBIC),
    "recompressed": recompressed,
    "darker": lambda image: image.point(lambda value: int(value * 0.5)),
    "brighter, less contrast": lambda image: image.point(lambda value: int(120 + value * 0.4)),
    "center": cut(0.5, 0.5),
    "top left": cut(0, 0),
    "top right": cut(1, 0),
    "bottom left": cut(0, 1),
    "bottom right": cut(1, 1),
    "somewhere": cut(0.3, 0.8),
    "cut and recompressed": lambda image: recompressed(cut(1, 0.5)(image), 60),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_is_found_whichever_of_the_two_comes_first(name: str) -> None:
    originals = [picture(seed) for seed in range(8)]
    copies = [CHANGES[name](image) for image in originals]
    expected = {(place, place + 8) for place in range(8)}
    assert found([*originals, *copies]) == expected
    assert found([*copies, *originals]) == expected
    assert alarms([*originals, *copies]) == expected


def test_different_pictures_are_no_copies() -> None:
    assert found([picture(seed) for seed in range(60)]) == set()


def test_images_without_detail_are_no_copies() -> None:
    plain = [Image.new("RGB", (64, 64), (shade, shade, shade)) for shade in (0, 90, 90, 255)]
    ramp_HW = np.tile(np.linspace(40, 200, 128), (128, 1))
    offset_H = np.linspace(-1, 1, 128)
    shade_HW = 220 - 90 * (offset_H[:, None] ** 2 + offset_H**2)
    rng = np.random.default_rng(0)
    noisy = [
        Image.fromarray((image_HW + rng.normal(0, 4, image_HW.shape)).clip(0, 255).astype(np.uint8)).convert("RGB")
        for image_HW in (ramp_HW, ramp_HW, shade_HW, shade_HW)
    ]
    assert found([*plain, *noisy]) == set()


def test_regular_patterns_are_copies_only_when_they_are_the_same_image() -> None:
    def board(dark: int, light: int) -> Image.Image:
        rows_HW, columns_HW = np.indices((160, 160)) // 20
        return Image.fromarray(np.where((rows_HW + columns_HW) % 2, dark, light).astype(np.uint8)).convert("RGB")

    black, gray = board(0, 255), board(90, 200)
    assert found([black, gray]) == set()
    assert found([black, gray, recompressed(black)]) == {(0, 2)}


def test_strokes_on_a_plain_ground_are_no_copies_of_each_other() -> None:
    def stroke(tilt: float, thickness: float, seed: int) -> Image.Image:
        y_HW, x_HW = np.mgrid[0:28, 0:28] - 13.5
        wobble = np.random.default_rng(seed).uniform(-0.6, 0.6)
        line_HW = np.exp(-(((x_HW - tilt * y_HW - wobble) / thickness) ** 2)) * (np.abs(y_HW) < 9)
        return Image.fromarray((line_HW * 255).astype(np.uint8)).convert("RGB")

    strokes = [stroke(tilt, thickness, seed) for seed, tilt in enumerate((0.1, 0.2, 0.3)) for thickness in (1.2, 1.8)]
    assert found(strokes) == set()


def test_a_picture_of_another_shape_is_no_copy() -> None:
    image = picture(0)
    assert found([image, image.resize((240, 240))]) == set()


def test_too_few_images_have_no_copies() -> None:
    assert near_duplicates(looks_of([picture(0)])) == ()
    blank = Image.new("RGB", (9, 9))
    assert near_duplicates(looks_of([blank, blank])) == ()


def test_without_crops_at_first_copies_of_many_images_are_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_advisor.images.duplicates.MANY", 10)
    originals = [picture(seed) for seed in range(8)]
    copies = [CHANGES["center"](image) for image in originals]
    assert found([*originals, *copies]) == {(place, place + 8) for place in range(8)}


def test_the_chunks_of_the_search_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [picture(seed) for seed in range(9)]
    looks = looks_of([*originals, *(recompressed(image) for image in originals)])
    whole = near_duplicates(looks)
    monkeypatch.setattr("finetune_advisor.images.duplicates.ROWS", 7)
    monkeypatch.setattr("finetune_advisor.images.duplicates.PAIRS", 2)
    assert [pair[:2] for pair in near_duplicates(looks)] == [pair[:2] for pair in whole]
    assert len(whole) == 9


def test_alignment_undoes_a_crop() -> None:
    image = picture(3).filter(ImageFilter.GaussianBlur(3))
    thumbs = [thumbnail(each).astype(np.float32)[None] for each in (image, cut(0.2, 0.9)(image))]
    band = (0.75, 3.0)
    before = float((unit(band_passed(thumbs[0], band)) * unit(band_passed(thumbs[1], band))).sum())
    one_PHW, other_PHW = fit(*thumbs, band=band, starts=CROPS).details(band)
    after = float((unit(one_PHW) * unit(other_PHW)).sum())
    assert after > 0.99 > before


def test_a_band_is_a_difference_of_gaussian_blurs() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image_HW = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    expected_HW = ndimage.gaussian_filter(image_HW, 0.75) - ndimage.gaussian_filter(image_HW, 3.0)
    np.testing.assert_allclose(band_passed(image_HW[None], (0.75, 3.0))[0], expected_HW, atol=1e-3)


def test_no_crop_changes_nothing() -> None:
    image_PHW = np.random.default_rng(0).uniform(0, 255, (2, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(crop(image_PHW, CROPS[0]), image_PHW, rtol=1e-5)


def test_real_photographs_have_no_false_copies_and_planted_ones_are_found(shared_data: Path) -> None:
    paths = sorted((shared_data / "hymenoptera" / "train").glob("*/*.jpg"))[:120]
    images = [Image.open(path).convert("RGB") for path in paths]
    names = ("smaller", "recompressed", "top left", "bottom right", "center")
    copies = [
        images[place].resize((images[place].width // 2, images[place].height // 2))
        if name == "smaller"
        else CHANGES[name](images[place])
        for place, name in enumerate(names * 4)
    ]
    pairs = found([*images, *copies])
    planted = {(place, len(images) + place) for place in range(20)}
    assert pairs == planted
    assert alarms([*images, *copies]) == planted


def garment(seed: int, *, jitter: float) -> Image.Image:
    """A pale shirt on plain ground: one cut up to `jitter` pixels, with folds and a print of its own."""
    size, rng = (240, 240), np.random.default_rng(seed)
    outline = Image.new("L", size, 0)
    cut = [(70, 40), (170, 40), (225, 90), (195, 115), (175, 95), (175, 205), (65, 205), (65, 95), (45, 115), (15, 90)]
    moved = rng.uniform(-jitter, jitter, (len(cut), 2))
    ImageDraw.Draw(outline).polygon([(x + dx, y + dy) for (x, y), (dx, dy) in zip(cut, moved, strict=True)], fill=255)
    cloth_HW1 = np.asarray(picture(seed, size), np.float64).mean(axis=2, keepdims=True) / 255 - 0.5
    cloth_HWC = (np.array((220, 215, 210)) + 60 * cloth_HW1).clip(0, 255).astype(np.uint8)
    ground_HWC = np.full((*size, 3), (150, 40, 60)) + rng.normal(0, 2, (*size, 3))
    image = Image.fromarray(ground_HWC.clip(0, 255).astype(np.uint8))
    image.paste(Image.fromarray(cloth_HWC), mask=outline)
    return image


@pytest.mark.parametrize("jitter", [0.0, 4.0])
def test_different_garments_of_one_cut_on_plain_ground_raise_no_alarm(jitter: float) -> None:
    wardrobe = [garment(seed, jitter=jitter) for seed in range(40)]
    assert jitter or len(found(wardrobe)) > 20, "the cut alone makes them plausible, which is what this is about"
    assert alarms(wardrobe) == set()


def test_the_copy_of_a_garment_raises_one() -> None:
    wardrobe = [garment(seed, jitter=10) for seed in range(40)]
    assert alarms([*wardrobe, recompressed(wardrobe[5], 60)]) == {(5, 40)}


def test_the_same_shape_in_another_color_raises_no_alarm() -> None:
    def sign(color: str) -> Image.Image:
        image = Image.new("RGB", (200, 200), "white")
        ImageDraw.Draw(image).regular_polygon((100, 100, 60), 5, fill=color)
        return image

    others = [picture(seed, (200, 200)) for seed in range(30)]
    assert alarms([sign("red"), sign("navy"), recompressed(sign("red"), 80), *others]) == {(0, 2)}


def test_copies_are_confirmed_where_nearly_every_image_has_one_at_another_exposure() -> None:
    objects = [picture(seed) for seed in range(30)]
    dark, pale = ([CHANGES[name](image) for image in objects] for name in ("darker", "brighter, less contrast"))
    expected = {(place + a, place + b) for place in range(30) for a, b in ((0, 30), (0, 60), (30, 60))}
    assert alarms([*objects, *dark, *pale]) == expected


def test_images_enlarged_from_a_few_pixels_raise_no_alarm() -> None:
    def enlarged(seed: int) -> Image.Image:
        return picture(seed % 10).resize((8, 8), Image.Resampling.BOX).resize((200, 200), Image.Resampling.BICUBIC)

    images = [enlarged(seed) for seed in range(40)]
    assert too_small(looks_of(images)).all()
    assert found(images) and alarms(images) == set()


def test_images_of_under_32_pixels_raise_no_alarm_among_larger_ones() -> None:
    images = [picture(seed) for seed in range(30)]
    icons = [image.resize((28, 21), Image.Resampling.LANCZOS) for image in images[:3]]
    assert too_small(looks_of([*images, *icons])).tolist() == [False] * 30 + [True] * 3
    assert alarms([*images, *icons]) == set()


def test_unnoticed_copies_do_not_change_what_is_usual_among_different_images() -> None:
    rng = np.random.default_rng(0)
    different = rng.normal(0.5, 0.1, 2000)
    clean, mixed = strangers(different), strangers(np.where(rng.random(2000) < 0.1, 2.5, different))
    assert clean.least(2000, 0.5) == pytest.approx(np.arctanh(0.85)), (
        "a floor where different images have little in common"
    )
    assert mixed.middle == pytest.approx(0.5, abs=0.03) and mixed.spread == pytest.approx(0.1, abs=0.03)
    assert strangers(different + 1).least(2000, 0.5) == pytest.approx(1.5 + 0.1 * 3.48, abs=0.05)
