"""Augmentations: what they do to pixels, and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import PrivateAttr, ValidationError
from scipy.ndimage import map_coordinates
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as reference

from finetune_advisor.techniques.augmentation import (
    Augmentation,
    ColorJitter,
    Context,
    FancyPca,
    HorizontalFlip,
    RandAugment,
    RandomCombination,
    RandomCrop,
    RandomErasing,
    Rotation,
    Shearing,
    Stretching,
    Translation,
    TrivialAugment,
    VerticalFlip,
    apply_all,
)
from finetune_advisor.techniques.augmentation.geometric import Affine, bend, warp
from finetune_advisor.techniques.base import Colors

CONTEXT = Context(32)


def picture(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(("probability", "mirrored"), [(0.0, 0), (0.5, 200), (1.0, 400)])
def test_flip_mirrors_the_stated_share_of_images(probability: float, mirrored: int) -> None:
    flip, rng, image = HorizontalFlip(probability=probability), np.random.default_rng(0), picture()
    mirror = np.asarray(image)[:, ::-1]
    seen = sum(np.array_equal(np.asarray(flip.apply(image, rng, CONTEXT)), mirror) for _ in range(400))
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
        assert RandomCrop().apply(picture(*shape), rng, Context(48)).size == (48, 48)


def test_crop_of_everything_is_a_plain_resize() -> None:
    image = picture(64, 64)
    crop = RandomCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    expected = image.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(crop.apply(image, np.random.default_rng(0), CONTEXT)), np.asarray(expected))


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.1)])
def test_crop_refuses_a_scale_that_is_no_range(scale: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="0 < smallest <= largest <= 1"):
        RandomCrop(scale=scale)


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation"])
def test_jitter_changes_what_it_says_as_torchvision_does(key: str) -> None:
    image = picture()
    jitter = ColorJitter.model_validate({"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, key: 0.4})
    jittered = np.asarray(jitter.apply(image, np.random.default_rng(0), CONTEXT), dtype=int)
    adjust = getattr(reference, f"adjust_{key}")
    candidates = [np.asarray(adjust(image, factor), dtype=int) for factor in np.linspace(0.6, 1.4, 801)]
    assert min(np.abs(jittered - candidate).max() for candidate in candidates) <= 1
    assert not np.array_equal(jittered, np.asarray(image))


def test_jitter_of_nothing_changes_nothing() -> None:
    still = ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0)
    assert np.array_equal(np.asarray(still.apply(picture(), np.random.default_rng(0), CONTEXT)), np.asarray(picture()))


def test_vertical_flip_mirrors_top_to_bottom_and_half_of_the_time() -> None:
    image, rng = picture(), np.random.default_rng(0)
    upside_down = np.asarray(image)[::-1]
    assert np.array_equal(np.asarray(VerticalFlip(probability=1.0).apply(image, rng, CONTEXT)), upside_down)
    seen = sum(np.array_equal(np.asarray(VerticalFlip().apply(image, rng, CONTEXT)), upside_down) for _ in range(400))
    assert seen == pytest.approx(200, abs=40)


def smooth(width: int = 90, height: int = 60) -> Image.Image:
    """A picture without detail, of which every resampling gives nearly the same pixels."""
    y, x = np.mgrid[:height, :width]
    waves = [120 + 90 * np.sin(x / 17 + c) * np.cos(y / 13 - c) for c in range(3)]
    return Image.fromarray(np.stack(waves, axis=-1).round().astype(np.uint8))


def inner(image: Image.Image, margin: int = 14) -> np.ndarray:
    """The pixels that no border comes near to."""
    return np.asarray(image, dtype=float)[margin:-margin, margin:-margin]


class Fixed(Affine):
    """An affine change without dice."""

    _seed = 2
    _technique: Affine = PrivateAttr()

    def __init__(self, technique: Affine) -> None:
        super().__init__(kind="fixed")
        self._technique = technique

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        return self._technique.matrix(np.random.default_rng(self._seed), width, height)


def by_scipy(image: Image.Image, source_2YX: np.ndarray) -> np.ndarray:
    """The image at places (y, x), pixel centers at .5, as SciPy interpolates it."""
    pixels_HWC = np.asarray(image, dtype=float)
    planes = [map_coordinates(pixels_HWC[..., c], source_2YX - 0.5, order=3, mode="reflect") for c in range(3)]
    return np.stack(planes, axis=-1)


def places(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width] + 0.5
    return x, y


def test_rotation_turns_about_the_center_by_at_most_the_angle() -> None:
    image, rotation = smooth(90, 60), Rotation(degrees=30.0)
    turned = rotation.matrix(np.random.default_rng(0), 90, 60)
    angle = np.arctan2(turned[0, 1], turned[0, 0])
    x, y = places(90, 60)
    cosine, sine = np.cos(angle), np.sin(angle)
    source = np.stack([-sine * (x - 45) + cosine * (y - 30) + 30, cosine * (x - 45) + sine * (y - 30) + 45])
    found = inner(rotation.apply(image, np.random.default_rng(0), CONTEXT))
    assert abs(angle) > 0.1
    assert np.abs(found - by_scipy(image, source)[14:-14, 14:-14]).max() < 4
    angles = [np.degrees(np.arcsin(rotation.matrix(np.random.default_rng(n), 9, 9)[0, 1])) for n in range(500)]
    assert np.abs(angles).max() <= 30 and np.std(angles) == pytest.approx(60 / np.sqrt(12), rel=0.1)


def test_a_quarter_turn_of_a_square_is_pillows() -> None:
    image = smooth(64, 64)
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    candidates = [image.transpose(turn) for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)]
    found = np.asarray(warp(image, quarter), dtype=int)
    assert min(np.abs(found - np.asarray(candidate, dtype=int)).max() for candidate in candidates) <= 1


def test_with_a_step_of_90_all_quarter_turns_are_as_likely_and_move_whole_pixels() -> None:
    image, rotation = smooth(64, 64), Rotation(degrees=180.0, step=90.0)
    expected = [np.rot90(np.asarray(image), quarters).tobytes() for quarters in range(4)]
    found = [np.asarray(rotation.apply(image, np.random.default_rng(n), CONTEXT)).tobytes() for n in range(400)]
    assert [found.count(each) for each in expected] == pytest.approx([100] * 4, abs=30)


def test_a_step_beyond_the_largest_angle_would_turn_nothing() -> None:
    with pytest.raises(ValidationError, match="`step` of at most `degrees`, found 90 and 15"):
        Rotation(step=90.0)


def test_translation_shifts_by_a_share_of_the_sides() -> None:
    image, matrix = smooth(), np.array([[1.0, 0, 9], [0, 1, -6], [0, 0, 1]])
    moved = inner(warp(image, matrix))
    expected = np.roll(np.asarray(image, dtype=float), (6, -9), axis=(0, 1))[14:-14, 14:-14]
    assert np.abs(moved - expected).max() <= 1
    drawn = np.array([Translation(share=0.2).matrix(np.random.default_rng(n), 90, 60)[:2, 2] for n in range(500)])
    shares = drawn / [90, 60]
    assert np.abs(shares).max() <= 0.2 and shares.std(axis=0) == pytest.approx(0.4 / np.sqrt(12), rel=0.1)


def test_stretching_keeps_the_area_and_shearing_the_lines_of_one_side() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        stretched = Stretching(factor=1.5).matrix(rng, 90, 60)
        assert np.linalg.det(stretched) == pytest.approx(1)
        assert 1 / 1.5 <= stretched[1, 1] / stretched[0, 0] <= 1.5
        slanted = Shearing(degrees=10.0).matrix(rng, 90, 60)
        assert np.linalg.det(slanted) == pytest.approx(1)
        assert np.abs(slanted - np.eye(3)).max() <= np.tan(np.radians(10.0)) + 1e-12


def test_what_comes_in_from_outside_is_mirrored() -> None:
    image = smooth()
    moved = np.asarray(warp(image, np.array([[1.0, 0, 18], [0, 1, 0], [0, 0, 1]])), dtype=int)
    pixels = np.asarray(image, dtype=int)
    assert np.abs(moved[:, -18:] - pixels[:, -18:][:, ::-1]).max() <= 1


def test_affine_changes_that_follow_each_other_are_one_movement() -> None:
    """In the order of the list, with one resampling instead of three."""
    image = smooth()
    steps = [Fixed(Rotation(degrees=25.0)), Fixed(Stretching(factor=1.5)), Fixed(Translation(share=0.2))]
    together = inner(apply_all(steps, image, np.random.default_rng(0), CONTEXT), 20)
    one_by_one = image
    for step in steps:
        one_by_one = step.apply(one_by_one, np.random.default_rng(0), CONTEXT)
    assert np.abs(together - inner(one_by_one, 20)).max() < 6
    other_order = apply_all(steps[::-1], image, np.random.default_rng(0), CONTEXT)
    assert np.abs(together - inner(other_order, 20)).max() > 12


@pytest.mark.parametrize("k", [-0.3, 0.3])
def test_lens_distortion_is_the_radial_formula(k: float) -> None:
    image = smooth(90, 60)
    bent = bend(image, lambda u: u * (1 + k * (u**2).sum(axis=1, keepdims=True)) / (1 + k), CONTEXT)
    x, y = places(90, 60)
    radius = np.hypot(45, 30)
    square = ((x - 45) ** 2 + (y - 30) ** 2) / radius**2
    source = np.stack([(v - c) * (1 + k * square) / (1 + k) + c for v, c in ((y, 30), (x, 45))])
    assert np.abs(np.asarray(bent, dtype=float) - by_scipy(image, source)).max() < 6
    assert np.abs(np.asarray(bent, dtype=int) - np.asarray(image, dtype=int)).max() > 20


COLORS = Colors((0.5, 0.4, 0.3), ((0.06, 0.04, 0.03), (0.04, 0.05, 0.035), (0.03, 0.035, 0.045)))


def test_fancy_pca_draws_offsets_with_the_covariance_of_the_slide() -> None:
    """Offsets p a l have mean 0 and covariance P diag(sigma^2 l^2) P^T, which is (sigma C)^2."""
    technique, rng = FancyPca(sigma=0.5), np.random.default_rng(0)
    offsets_DC = np.array([technique.offset(COLORS, rng) for _ in range(40_000)])
    covariance_CC = np.array(COLORS.covariance)
    expected_CC = 0.25 * covariance_CC @ covariance_CC
    assert offsets_DC.mean(axis=0) == pytest.approx(0, abs=4 * np.sqrt(expected_CC.max() / 40_000))
    assert np.cov(offsets_DC.T) == pytest.approx(expected_CC, rel=0.05)


def test_fancy_pca_adds_one_color_to_all_pixels() -> None:
    image = smooth()
    technique = FancyPca(sigma=1.0)
    changed = technique.apply(image, np.random.default_rng(3), Context(32, COLORS))
    difference = np.asarray(changed, dtype=int) - np.asarray(image, dtype=int)
    expected = 255 * technique.offset(COLORS, np.random.default_rng(3))
    assert np.abs(difference - expected).max() <= 1 and np.abs(difference).max() > 1


def test_random_erasing_hides_the_stated_share() -> None:
    image, technique = Image.new("RGB", (100, 80)), RandomErasing(probability=0.5, scale=(0.1, 0.2), ratio=(0.5, 2.0))
    hidden = []
    for seed in range(300):
        pixels_HWC = np.asarray(technique.apply(image, np.random.default_rng(seed), CONTEXT))
        erased = pixels_HWC.max(axis=2) > 0
        if erased.any():
            rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
            hidden.append((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1) / erased.size)
            assert erased.sum() > 0.95 * hidden[-1] * erased.size, "it is one rectangle"
    assert len(hidden) == pytest.approx(150, abs=30)
    assert min(hidden) > 0.09 and max(hidden) < 0.21


@pytest.mark.parametrize("technique", [TrivialAugment(), RandAugment()], ids=lambda technique: technique.kind)
def test_policies_of_torchvision_follow_the_dice_of_the_image(technique: Augmentation) -> None:
    image, before = picture(), torch.random.get_rng_state()
    made = [np.asarray(technique.apply(image, np.random.default_rng(seed), CONTEXT)) for seed in (1, 1, 2, 3, 4)]
    assert np.array_equal(made[0], made[1])
    assert not all(np.array_equal(made[0], other) for other in made[2:])
    assert torch.equal(torch.random.get_rng_state(), before), "torch's own dice are left alone"


def test_a_combination_takes_as_many_changes_as_it_says() -> None:
    one = RandomCombination(of=("horizontal_flip", "vertical_flip"), count=2)
    image = picture()
    pixels = np.asarray(image)
    states = {(False, False): pixels, (True, False): pixels[:, ::-1], (False, True): pixels[::-1]}
    states[True, True] = pixels[::-1, ::-1]
    seen = [
        next(key for key, state in states.items() if np.array_equal(state, np.asarray(made)))
        for made in (one.apply(image, np.random.default_rng(seed), CONTEXT) for seed in range(200))
    ]
    assert all(seen.count(key) == pytest.approx(50, abs=20) for key in states)
    with pytest.raises(ValidationError, match="at most 1"):
        RandomCombination(of=("rotation",), count=2)


def test_large_images_are_moved_at_twice_the_input() -> None:
    """A photograph of twelve megapixels is not warped in full."""
    assert Rotation().apply(smooth(400, 300), np.random.default_rng(0), CONTEXT).size == (100, 75)
