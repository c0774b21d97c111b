"""The images as every verb sees them: what is left out, what is refused, and what stays together."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.dataset import Dataset, open_dataset
from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import open_source

ImageFolder = Callable[..., Path]


def opened(root: Path, *, seed: int = 0, validation: float = 0.25) -> Dataset:
    return open_dataset(
        open_source(root), (), validation=validation, seed=seed, device="cpu", workers=0, use_cache=False
    )


def spoil(*paths: Path) -> None:
    for path in paths:
        path.write_text("no pixels here")


def error_of(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(root)
    assert caught.value.hint, "an error without a hint leaves the person alone"
    return caught.value


def split_of(data: Dataset) -> dict[str, str | None]:
    return {sample.name: sample.split for sample in data.listing.samples}


def test_bad_files_are_left_out_and_named(image_folder: ImageFolder, caplog: pytest.LogCaptureFixture) -> None:
    root = image_folder({"ants": 5, "bees": 4})
    spoil(root / "ants" / "002.png")
    with caplog.at_level(logging.WARNING):
        data = opened(root)
    assert list(data.bad_files) == ["ants/002.png"]
    assert "not an image" in data.bad_files["ants/002.png"]
    assert "left out: ants/002.png" in caplog.text
    assert "ants/002.png" not in split_of(data)
    assert len(data.listing.samples) == len(data.digests) == 8
    assert data.classes == ("ants", "bees")


def test_a_bad_file_takes_no_place_in_the_split(image_folder: ImageFolder) -> None:
    """The draw is over what can be used: as if the file had never been there."""
    root = image_folder({"ants": 8, "bees": 8})
    spoil(root / "ants" / "002.png")
    with_bad = split_of(opened(root))
    (root / "ants" / "002.png").unlink()
    assert split_of(opened(root)) == with_bad


def test_when_nothing_can_be_decoded_the_person_is_told_why(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 2, "bees": 2})
    spoil(*root.rglob("*.png"))
    error = error_of(root)
    assert "None of the 4 image files" in error.message and "not an image" in error.message


def test_a_class_with_too_few_readable_images_is_refused(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 3, "bees": 4})
    spoil(root / "ants" / "000.png", root / "ants" / "001.png")
    message = error_of(root).message
    assert "too few training images are left in: ants" in message and "ants/000.png" in message


def test_a_class_that_can_only_be_validated_is_refused(image_folder: ImageFolder) -> None:
    root = image_folder({"train/ants": 1, "train/bees": 3, "val/ants": 2, "val/bees": 2})
    spoil(root / "train" / "ants" / "000.png")
    assert "left in: ants" in error_of(root).message


def test_test_images_do_not_make_up_for_unreadable_training_images(image_folder: ImageFolder) -> None:
    root = image_folder({"train/ants": 2, "train/bees": 3, "test/ants": 5})
    spoil(root / "train" / "ants" / "000.png")
    assert "left in: ants" in error_of(root).message


@pytest.mark.parametrize("seed", range(4))
def test_byte_identical_files_are_on_one_side(image_folder: ImageFolder, seed: int) -> None:
    root = image_folder({"ants": 8, "bees": 8})
    for number in range(4):
        shutil.copy(root / "ants" / f"00{number}.png", root / "ants" / f"copy{number}.png")
    splits = split_of(opened(root, seed=seed))
    assert all(splits[f"ants/00{number}.png"] == splits[f"ants/copy{number}.png"] for number in range(4))
    assert set(splits.values()) == {"train", "val"}


def test_copies_alone_leave_nothing_to_validate_with(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 2, "bees": 2})
    for name in ("ants", "bees"):
        shutil.copy(root / name / "000.png", root / name / "001.png")
    message = error_of(root).message
    assert "4 training images" in message and "copies of 2 images" in message


def test_one_image_in_every_split_is_no_data_set(image_folder: ImageFolder) -> None:
    root = image_folder({"train/ants": 2, "train/bees": 2, "val/ants": 1, "val/bees": 1})
    original, *others = sorted(root.rglob("*.png"))
    for other in others:
        shutil.copy(original, other)
    assert "copies of 1 image," in error_of(root).message


def test_the_users_split_is_kept_and_rows_point_into_it(image_folder: ImageFolder) -> None:
    root = image_folder({"train/ants": 3, "train/bees": 3, "val/ants": 1, "val/bees": 1, "test/bees": 2})
    data = opened(root)
    assert data.has_test
    assert [sample.name for sample in data.samples(data.index("test"))] == ["test/bees/000.png", "test/bees/001.png"]
    assert data.labels(data.index("val")).tolist() == [0, 1]
    assert len(data.index("train", "val")) == 8
    assert not opened(image_folder({"ants": 2, "bees": 2}, name="flat")).has_test


def test_the_same_seed_gives_the_same_split_and_another_another(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 20, "bees": 20})
    assert split_of(opened(root, seed=1)) == split_of(opened(root, seed=1))
    assert split_of(opened(root, seed=1)) != split_of(opened(root, seed=2))


def test_folds_are_stratified_and_keep_copies_together(image_folder: ImageFolder) -> None:
    root = image_folder({"ants": 10, "bees": 15})
    shutil.copy(root / "ants" / "000.png", root / "ants" / "copy.png")
    data = opened(root)
    everything_N = data.index("train", "val")
    fold_N = data.folds(everything_N, folds=5, seed=0)
    labels_N = data.labels(everything_N)
    assert sorted(Counter(fold_N[labels_N == 0].tolist()).values()) == [2, 2, 2, 2, 3]
    assert set(Counter(fold_N[labels_N == 1].tolist()).values()) == {3}
    place = {sample.name: n for n, sample in enumerate(data.samples(everything_N))}
    assert fold_N[place["ants/000.png"]] == fold_N[place["ants/copy.png"]]
    assert np.array_equal(fold_N, data.folds(everything_N, folds=5, seed=0))
    assert not np.array_equal(fold_N, data.folds(everything_N, folds=5, seed=1))


@pytest.mark.parametrize(("smallest", "expected"), [(2, 2), (3, 3), (9, 5)])
def test_there_are_no_more_folds_than_images_in_the_smallest_class(
    image_folder: ImageFolder, smallest: int, expected: int
) -> None:
    data = opened(image_folder({"ants": smallest, "bees": 12}))
    fold_N = data.folds(data.index("train", "val"), folds=5, seed=0)
    assert len(set(fold_N.tolist())) == expected
