"""Batches for a device hold the same pictures whatever reads, keeps or divides them; here the device is the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune_advisor.data.augmented import first_epochs, pictures
from finetune_advisor.data.batches import Batch, BatchPlan, TrainBatches
from finetune_advisor.data.canvas import Canvas
from finetune_advisor.data.canvases import training_images
from finetune_advisor.data.device_augment import DeviceAugment
from finetune_advisor.data.kept_pixels import KeptPixels, keep
from finetune_advisor.data.sources import Sample, open_source
from finetune_advisor.errors import DataError
from finetune_advisor.techniques.augmentation import (
    ColorJitter,
    Context,
    Drawn,
    HorizontalFlip,
    RandomCrop,
    RandomErasing,
    Rotation,
    apply_all,
)
from finetune_advisor.techniques.preprocessing.settings import Preprocess

P = Preprocess(16, "crop", 0.875, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
TECHNIQUES: tuple[Drawn, ...] = (HorizontalFlip(), Rotation(), RandomCrop(), ColorJitter(), RandomErasing())
SEED, STEPS = 5, 6
"""11 images in batches of 4 are 3 steps an epoch: two epochs."""


def unchanged(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@pytest.fixture
def samples(tmp_path: Path) -> Sequence[Sample]:
    """Smooth pictures of different sizes, every one of its own."""
    for number in range(11):
        width, height = 30 + 5 * number, 70 - 4 * number
        y, x = np.mgrid[:height, :width]
        across, down = 2 * np.pi * x / width, 2 * np.pi * y / height
        waves = [120 + 90 * np.sin(across + c + number) * np.cos(down - c) for c in range(3)]
        folder = tmp_path / "images" / ("ants", "bees")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack(waves, axis=-1).round().astype(np.uint8)).save(folder / f"{number:03d}.png")
    return open_source(str(tmp_path / "images")).samples


def augment(techniques: tuple[Drawn, ...] = TECHNIQUES) -> DeviceAugment:
    return DeviceAugment(techniques, None, P, Canvas(32, 32, fitted=False))


def made(
    samples: Sequence[Sample],
    *,
    workers: int = 0,
    start: int = 0,
    rank: int = 0,
    processes: int = 1,
    kept: KeptPixels | None = None,
) -> list[Batch]:
    plan = BatchPlan(len(samples), 4, SEED, rank=rank, processes=processes)
    stream = TrainBatches(samples, plan, P, augment=augment(), start=start, stop=STEPS, workers=workers, kept=kept)
    return [batch.on(unchanged) if batch.names else batch for batch in stream]


def same(ours: Sequence[Batch], theirs: Sequence[Batch]) -> bool:
    pairs = list(zip(ours, theirs, strict=True))
    return all(one.names == other.names and torch.equal(one.inputs, other.inputs) for one, other in pairs)


def test_a_batch_holds_the_pictures_that_the_cpu_makes(samples: Sequence[Sample]) -> None:
    def on_cpu(image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
        return apply_all(TECHNIQUES, image, rng, Context(size))

    plan = BatchPlan(len(samples), 4, SEED)
    theirs = TrainBatches(samples, plan, P, augment=on_cpu, start=0, stop=STEPS, workers=0)
    for ours, expected in zip(made(samples), theirs, strict=True):
        assert ours.names == expected.names and torch.equal(ours.labels_B, expected.labels_B)
        assert ours.inputs.dtype == torch.uint8 and not ours.stages
        assert (ours.inputs.int() - expected.inputs.int()).abs().max() <= 8


def test_workers_and_a_start_in_the_middle_change_nothing(samples: Sequence[Sample]) -> None:
    whole = made(samples)
    assert same(made(samples, workers=2), whole)
    assert same(made(samples, start=4), whole[4:])
    assert not torch.equal(whole[0].inputs, whole[3].inputs), "another epoch, other dice"


@pytest.mark.parametrize("images", [11, 5], ids=["all", "some"])
def test_what_is_kept_gives_the_same_bits_and_needs_no_file(
    samples: Sequence[Sample], tmp_path: Path, images: int
) -> None:
    """The dice depend on the size of the image as it was decoded, which is kept beside its pixels."""
    whole = made(samples)
    source = training_images(samples, P, augment(), SEED, None)
    kept = keep(tmp_path / "a.pixels", list(pictures(source, workers=0))[:images], most_mib=1)
    for sample in samples[:images]:
        Path(sample.path).unlink()
    assert same(made(samples, kept=kept), whole)


def test_processes_that_divide_a_batch_make_its_pictures_to_the_bit(samples: Sequence[Sample]) -> None:
    shares = zip(*(made(samples, rank=rank, processes=3) for rank in range(3)), strict=True)
    empty = 0
    for whole, parts in zip(made(samples), shares, strict=True):
        filled = [part for part in parts if part.names]
        empty += len(parts) - len(filled)
        assert sum((part.names for part in filled), ()) == whole.names
        assert torch.equal(torch.cat([part.inputs for part in filled]), whole.inputs)
    assert empty, "some process has no images in some step"


def test_views_of_the_first_epochs_are_those_of_the_batches(samples: Sequence[Sample]) -> None:
    images = training_images(samples, P, augment(), SEED, None)
    x_VNCHW = torch.cat(list(first_epochs(images, 2, batch=4, workers=0, send=unchanged)), dim=1)
    places = {sample.name: place for place, sample in enumerate(samples)}
    for batch in made(samples):
        rows = [places[name] for name in batch.names]
        assert torch.equal(x_VNCHW[batch.epoch][rows], batch.inputs)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_vanished_is_named(samples: Sequence[Sample], workers: int) -> None:
    Path(samples[3].path).unlink()
    with pytest.raises(DataError) as caught:
        made(samples, workers=workers)
    assert caught.value.message == f"{samples[3].name} cannot be read any more: the file is gone."


def test_a_batch_is_not_cut_apart_before_the_device_has_changed_it(samples: Sequence[Sample]) -> None:
    plan = BatchPlan(len(samples), 4, SEED)
    batch = next(iter(TrainBatches(samples, plan, P, augment=augment(), start=0, stop=1, workers=0)))
    with pytest.raises(AssertionError, match="cut apart after"):
        list(batch.parts(2))
    assert [len(part.names) for part in batch.on(unchanged).parts(2)] == [2, 2]
