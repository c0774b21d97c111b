"""The whole of the findings, from files on the disk to the manifest without them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from finetune_advisor.analysis.health import health
from finetune_advisor.dataset import TRAINABLE, open_dataset
from finetune_advisor.features.extract import ruler
from finetune_advisor.images.color_statistics import value_scale
from finetune_advisor.images.sources import open_source
from finetune_advisor.images.tables import clean_manifest, review_table

ImageFolder = Callable[..., Path]


def test_planted_faults_are_named_and_left_out(image_folder: ImageFolder) -> None:
    counts = {"train/ants": 12, "train/bees": 12, "test/ants": 4, "test/bees": 4}
    root = image_folder(counts, size=(96, 80), suffix=".jpg")
    shutil.copy(root / "train/ants/000.jpg", root / "train/ants/again.jpg")
    shutil.copy(root / "test/bees/000.jpg", root / "train/bees/leak.jpg")
    blotches_HWC = np.random.default_rng(7).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(blotches_HWC).resize((96, 80)).save(root / "train/bees/003.jpg")
    with Image.open(root / "train/bees/003.jpg") as image:
        image.resize((80, 66)).save(root / "train/bees/small.jpg")
    with Image.open(root / "train/bees/004.jpg") as image:
        image.resize((12, 10)).save(root / "train/bees/tiny.jpg")
    (root / "train/ants/bad.jpg").write_bytes((root / "train/ants/001.jpg").read_bytes()[:300])
    Image.new("RGB", (96, 80)).save(root / "train/bees/black.jpg")
    listing = open_source(root)
    data = open_dataset(listing, (ruler(),), validation=0.2, seed=0, device="cpu", workers=0)
    trainable_T = data.index(*TRAINABLE)
    probabilities_TK = np.full((len(trainable_T), 2), 0.05)
    probabilities_TK[np.arange(len(trainable_T)), data.labels(trainable_T)] = 0.95
    wrong = next(place for place, sample in enumerate(data.samples(trainable_T)) if sample.name == "train/ants/007.jpg")
    probabilities_TK[wrong] = (0.02, 0.98)

    found = health(data, probabilities_TK=probabilities_TK)
    assert [bad.path for bad in found.bad_files] == ["train/ants/bad.jpg"]
    assert found.exact_duplicates == (
        ("test/bees/000.jpg", "train/bees/leak.jpg"),
        ("train/ants/000.jpg", "train/ants/again.jpg"),
    )
    assert ("train/bees/003.jpg", "train/bees/small.jpg") in [near.images for near in found.near_duplicates]
    assert found.duplicates_across_splits == (("test/bees/000.jpg", "train/bees/leak.jpg"),)
    assert [(suspect.path, suspect.suggestion) for suspect in found.label_suspects] == [("train/ants/007.jpg", "bees")]
    assert "train/bees/tiny.jpg" in [odd.path for odd in found.odd_images]
    assert found.color_modes == {"RGB": len(data.listing.samples)}

    rows = clean_manifest(listing, found, relative_to=root).splitlines()
    names = {row.split(",")[0] for row in rows[1:]}
    gone = {
        "train/ants/bad.jpg",
        "train/ants/again.jpg",
        "train/bees/leak.jpg",
    }
    assert names.isdisjoint(gone)
    assert {sample.name for sample in listing.samples} - gone == names
    review = review_table(listing, found, relative_to=root)
    assert 'train/ants/007.jpg,ants,bees,"the label may be wrong' in review
    assert [blank.path for blank in found.blank_images] == ["train/bees/black.jpg", "train/bees/tiny.jpg"]
    assert "train/bees/black.jpg,bees,,blank: all black," in review
    assert found.tones is not None and (found.tones.dark, found.tones.mostly_few_levels) == (1, False)
    assert health(data).label_suspects == ()


def test_a_wrong_scale_of_the_pixels_shows_in_darkness_and_few_levels(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 8, "bees": 8}, suffix=".png")
    for path in root.rglob("*.png"):  # 12 bits kept in 16, of which only the upper 4 survive
        with Image.open(path) as image:
            pixels_HWC = np.asarray(image) // 16
        Image.fromarray(pixels_HWC).save(path)
    found = health(open_dataset(open_source(root), (ruler(),), validation=0.2, seed=0, device="cpu", workers=0))
    assert found.tones is not None
    assert (found.tones.images, found.tones.dark, found.tones.few_levels) == (16, 16, 16)
    assert found.tones.mostly_dark and found.tones.mostly_few_levels


def test_tones_and_blank_images_are_seen_on_the_scale_of_the_data_set(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 8, "bees": 8}, suffix=".tif")
    for place, path in enumerate(sorted(root.rglob("*.tif"))):
        with Image.open(path) as image:  # below 0 and far above 1, which no type says how to show
            values_HW = np.asarray(image.convert("L"), np.float32) * 3 - 200
        Image.fromarray(values_HW * 0 - 200 if place == 0 else values_HW).save(path)
    listing = open_source(root)
    values = value_scale([sample.path for sample in listing.samples])
    assert values is not None
    data = open_dataset(
        listing,
        (ruler(values.range),),
        validation=0.2,
        seed=0,
        device="cpu",
        workers=0,
        value_range=values.range,
    )
    found = health(data, values=values)
    assert [(blank.path, blank.reason) for blank in found.blank_images] == [("ants/000.tif", "all black")]
    assert found.tones is not None and not found.tones.mostly_few_levels and found.tones.levels > 50
