"""What a device makes of many images at once is what the CPU makes of each; here the device is the CPU.

Shapes: B images, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from finetune_advisor.data import device_augment
from finetune_advisor.data.canvas import Canvas
from finetune_advisor.data.decode import to_array
from finetune_advisor.data.device_augment import DeviceAugment
from finetune_advisor.data.fit import Sides, fit_image
from finetune_advisor.data.plan import image_rng
from finetune_advisor.data.sending import sent_to
from finetune_advisor.data.stages import Relight, Resample, Step, run_stages
from finetune_advisor.techniques.augmentation import (
    ColorJitter,
    Context,
    Drawn,
    FancyPca,
    HorizontalFlip,
    LensDistortion,
    RandomCombination,
    RandomCrop,
    RandomErasing,
    Rotation,
    Shearing,
    Stretching,
    Translation,
    VerticalFlip,
    apply_all,
)
from finetune_advisor.techniques.colors import Colors
from finetune_advisor.techniques.preprocessing.settings import Fit, Preprocess

COLORS = Colors((0.5, 0.4, 0.3), ((0.06, 0.04, 0.03), (0.04, 0.05, 0.035), (0.03, 0.035, 0.045)))
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
SIZES: list[Sides] = [(90, 60), (60, 90), (64, 64), (300, 200), (201, 311), (48, 48), (30, 41), (400, 150)]

WORST, MEAN = 8, 2.0
"""Most that a value of a smooth picture may differ, of 255, and the mean. Both sides resample, the CPU once for every
change, where Pillow cuts results down to whole numbers: half a value is lost each time."""

Pixels = npt.NDArray[np.int64]


def settings(fit: Fit = "crop", size: int = 48) -> Preprocess:
    return Preprocess(size, fit, 0.875, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))


def smooth(width: int, height: int, number: int) -> Image.Image:
    """A picture without detail, of which every resampling gives nearly the same pixels."""
    y, x = np.mgrid[:height, :width]
    across, down = 2 * np.pi * x / width, 2 * np.pi * y / height
    waves = [120 + 90 * np.sin(across + c + number) * np.cos(down - c) for c in range(3)]
    return Image.fromarray(np.stack(waves, axis=-1).round().astype(np.uint8))


def noise(width: int, height: int, number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8))


def on_cpu(techniques: Sequence[Drawn], images: Sequence[Image.Image], p: Preprocess, seed: int = 0) -> Pixels:
    context = Context(p.size, COLORS)
    made = [apply_all(techniques, image, image_rng(seed, 3, place), context) for place, image in enumerate(images)]
    return np.stack([to_array(fit_image(image, p)) for image in made]).astype(int)


def augment_for(techniques: Sequence[Drawn], images: Sequence[Image.Image], p: Preprocess) -> DeviceAugment:
    mirrored = all(isinstance(technique, HorizontalFlip | VerticalFlip) for technique in techniques)
    canvas = Canvas.of(np.array([image.size for image in images]), p, only_mirrored=mirrored)
    return DeviceAugment(tuple(techniques), COLORS, p, canvas)


def run(augment: DeviceAugment, images: Sequence[Image.Image], places: Sequence[int], seed: int = 0) -> torch.Tensor:
    chosen = [images[place] for place in places]
    x_BCHW = torch.from_numpy(np.stack([to_array(augment.canvas.made(image, augment.preprocess)) for image in chosen]))
    before_BCHW = x_BCHW.clone()
    changes = [augment.changes(images[place].size, image_rng(seed, 3, place)) for place in places]
    made = run_stages(x_BCHW, augment.groups(changes, [image.size for image in chosen]), lambda tensor: tensor)
    assert torch.equal(x_BCHW, before_BCHW), "what came in stays as it is"
    return made


def on_device(techniques: Sequence[Drawn], images: Sequence[Image.Image], p: Preprocess, seed: int = 0) -> Pixels:
    found: Pixels = run(augment_for(techniques, images, p), images, range(len(images)), seed).numpy().astype(int)
    return found


MOVING: dict[str, list[Drawn]] = {
    "random_crop": [RandomCrop(scale=(0.2, 1.0))],
    "translation": [Translation(share=0.3)],
    "rotation": [Rotation(degrees=45.0)],
    "quarter turns": [Rotation(degrees=180.0, step=90.0)],
    "stretching": [Stretching(factor=1.5)],
    "shearing": [Shearing(degrees=20.0)],
    "lens_distortion": [LensDistortion(strength=0.3)],
    "random_combination": [RandomCombination(count=3)],
    "combination with colors": [RandomCombination(of=("rotation", "color_jitter", "vertical_flip"), count=2)],
    "color_jitter": [ColorJitter(brightness=0.4)],
    "fancy_pca": [FancyPca(sigma=2.0)],
    "what recipes ship with": [HorizontalFlip(), RandomCrop(), ColorJitter()],
    "colors before places": [FancyPca(sigma=1.0), ColorJitter(), Rotation(), HorizontalFlip()],
    "all on one another": [
        HorizontalFlip(),
        Rotation(),
        Translation(share=0.2),
        LensDistortion(),
        VerticalFlip(),
        Shearing(),
        RandomCrop(),
    ],
    "after the crop": [RandomCrop(), Rotation(), LensDistortion(strength=0.1)],
}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("techniques", MOVING.values(), ids=list(MOVING))
def test_the_picture_is_that_of_the_cpu_up_to_interpolation(techniques: list[Drawn], fit: Fit) -> None:
    images = [smooth(*sides, number) for number, sides in enumerate(3 * SIZES)]
    expected = on_cpu(techniques, images, settings(fit))
    found = on_device(techniques, images, settings(fit))
    assert np.abs(found - expected).max() <= WORST
    assert np.abs(found - expected).mean() <= MEAN
    others = on_device(techniques, images, settings(fit), seed=1)
    assert np.abs(others - expected).max() > 3 * WORST, "other dice give other pictures"


@pytest.mark.parametrize(
    ("sides", "fit"), [((48, 48), "crop"), ((96, 54), "stretch"), ((126, 110), "pad"), ((90, 108), "crop")]
)
@pytest.mark.parametrize("techniques", [[HorizontalFlip()], [VerticalFlip()], [HorizontalFlip(), VerticalFlip()]])
def test_mirror_images_are_those_of_the_cpu_to_the_bit(techniques: list[Drawn], sides: Sides, fit: Fit) -> None:
    images = [noise(*sides, number) for number in range(12)]
    found = on_device(techniques, images, settings(fit))
    assert np.array_equal(found, on_cpu(techniques, images, settings(fit)))
    assert not np.array_equal(found, on_cpu([], images, settings(fit)))


@pytest.mark.parametrize(
    "techniques",
    [[ColorJitter(brightness=0.6, contrast=0.9)], [FancyPca(sigma=2.0)], [ColorJitter(), FancyPca(), ColorJitter()]],
    ids=["jitter", "pca", "both"],
)
def test_colors_of_the_same_pixels_are_those_of_the_cpu(techniques: list[Drawn]) -> None:
    """To the bit, but for a value here and there that two processors round to different sides."""
    images = [noise(48, 48, number) for number in range(20)]
    difference = np.abs(on_device(techniques, images, settings()) - on_cpu(techniques, images, settings()))
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_erased_rectangles_have_the_place_and_the_noise_of_the_cpu() -> None:
    whole = RandomCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    techniques = [whole, RandomErasing(probability=0.6)]
    images = [noise(48, 48, number) for number in range(20)]
    found = on_device(techniques, images, settings())
    assert np.array_equal(found, on_cpu(techniques, images, settings()))
    erased = (found != on_cpu([], images, settings())).any(axis=(1, 2, 3)).sum()
    assert 0 < erased < 20


EVERYTHING: list[Drawn] = [
    FancyPca(sigma=1.0),
    RandomCombination(of=("rotation", "color_jitter", "lens_distortion", "horizontal_flip"), count=3),
    HorizontalFlip(),
    RandomCrop(),
    ColorJitter(),
    RandomErasing(probability=0.5),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("techniques", [EVERYTHING, [Rotation(), ColorJitter()]], ids=["everything", "without a crop"])
def test_an_image_is_the_same_in_whatever_batch_it_lies(
    techniques: list[Drawn], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [noise(*sides, number) for number, sides in enumerate(2 * SIZES)]
    augment, everyone = augment_for(techniques, images, settings("pad")), range(len(images))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = run(augment, images, everyone)
        alone = torch.cat([run(augment, images, [place]) for place in everyone])
        backward = run(augment, images, everyone[::-1]).flip(0)
        monkeypatch.setattr(device_augment, "TOGETHER", 3)
        in_threes = run(augment, images, everyone)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(together, alone)
    assert torch.equal(together, backward)
    assert torch.equal(together, in_threes)


def resampled(
    matrix: Sequence[Sequence[float]], pixels_HWC: npt.NDArray[np.uint8], lens: float | None = None
) -> Pixels:
    height, width = pixels_HWC.shape[:2]
    square = height**2 + width**2
    lens_13 = None if lens is None else np.array([[lens, width**2 / square, height**2 / square]], np.float32)
    stage = Resample((Step(np.array([matrix], np.float32), lens_13),), height, width, 1, None)
    x_BCHW = torch.from_numpy(pixels_HWC.transpose(2, 0, 1).copy())[None]
    found: Pixels = stage.apply(x_BCHW, lambda tensor: tensor)[0].permute(1, 2, 0).numpy().astype(int)
    return found


def test_a_grid_moves_pixels_where_they_belong_and_mirrors_them_at_the_border() -> None:
    pixels_HWC = np.asarray(noise(40, 40, 0))
    assert np.array_equal(resampled([[1, 0, 0], [0, 1, 0]], pixels_HWC), pixels_HWC)
    assert np.array_equal(resampled([[0, -1, 0], [1, 0, 0]], pixels_HWC), np.rot90(pixels_HWC, 1))
    mirrored = np.pad(pixels_HWC, [(0, 0), (0, 12), (0, 0)], mode="symmetric")
    assert np.array_equal(resampled([[1, 0, 12 / 20], [0, 1, 0]], pixels_HWC), mirrored[:, 12:])


@pytest.mark.parametrize("k", [-0.3, 0.3])
def test_a_lens_is_the_radial_formula(k: float) -> None:
    image = smooth(90, 60, 0)
    bent = resampled([[1, 0, 0], [0, 1, 0]], np.asarray(image), lens=k)
    y, x = np.mgrid[:60, :90] + 0.5
    square = ((x - 45) ** 2 + (y - 30) ** 2) / (45**2 + 30**2)
    source = np.stack([(v - c) * (1 + k * square) / (1 + k) + c for v, c in ((y, 30), (x, 45))])
    planes = [
        map_coordinates(np.asarray(image, float)[..., c], source - 0.5, order=3, mode="reflect") for c in range(3)
    ]
    assert np.abs(bent - np.stack(planes, axis=-1)).max() < 3


def test_movements_that_follow_each_other_are_one_resampling() -> None:
    images = [smooth(90, 60, 0)]
    augment = augment_for([*MOVING["all on one another"], ColorJitter()], images, settings())
    [group] = augment.groups([augment.changes((90, 60), image_rng(0, 0, 0))], [(90, 60)])
    assert [type(stage) for stage in group.stages] == [Resample, Relight]


def test_a_canvas_is_no_larger_than_the_images_or_than_is_of_use() -> None:
    small, large = np.array([(32, 32), (28, 30)]), np.array([(20, 30), (4000, 3000)])
    assert Canvas.of(small, settings(), only_mirrored=False) == Canvas(32, 32, fitted=False)
    assert Canvas.of(large, settings(), only_mirrored=False) == Canvas(96, 96, fitted=False)
    assert Canvas.of(large, settings(), only_mirrored=True) == Canvas(48, 48, fitted=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
@pytest.mark.parametrize("techniques", MOVING.values(), ids=MOVING)
def test_a_gpu_changes_images_as_a_cpu_does(techniques: list[Drawn]) -> None:
    images, p = [smooth(*size, number) for number, size in enumerate(SIZES)], settings()
    augment, send = augment_for(techniques, images, p), partial(sent_to, torch.device("cuda"))
    changes = [augment.changes(image.size, image_rng(0, 3, place)) for place, image in enumerate(images)]
    groups = augment.groups(changes, [image.size for image in images])
    x_BCHW = torch.from_numpy(np.stack([to_array(augment.canvas.made(image, p)) for image in images]))
    by_cpu = run_stages(x_BCHW, groups, lambda tensor: tensor)
    by_gpu = run_stages(send(x_BCHW), groups, send).cpu()
    difference = (by_cpu.int() - by_gpu.int()).abs().float()
    assert difference.mean() < 0.1
    assert difference.max() <= WORST
