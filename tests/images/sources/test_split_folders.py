"""Folders that are splits under any usual name, and those that only seem to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import open_source
from finetune_advisor.images.sources.folder import split_of


def put(root: Path, *folders: str, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Two empty images in each class folder of each of these."""
    for folder in folders:
        for name in classes:
            for number in range(2):
                path = root / folder / name / f"{number}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    return root


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert caught.value.hint, "an error without a hint leaves the person alone"
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train_data", "test_data"),
        ("images_train", "images_test"),
        ("TrainSet", "TestSet"),
        ("trainset", "testset"),
        ("flowers-train", "flowers-test"),
        ("Train images", "Test images"),
        ("01_train", "02_test"),
        ("train", "test_images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
        ("archive/Training", "archive/Testing"),
        ("a/b/train_set", "a/b/test_set"),
    ],
)
def test_splits_under_usual_names_and_nested(tmp_path: Path, train: str, test: str) -> None:
    listing = open_source(put(tmp_path / "data", train, test))
    assert listing.classes == ("cat", "dog")
    assert {(sample.name.rsplit("/", 2)[0], sample.split) for sample in listing.samples} == {
        (train, "train"),
        (test, "test"),
    }
    assert listing.source == str(tmp_path / "data")
    assert listing.samples[0].path.is_file()


def test_a_validation_split_under_another_name(tmp_path: Path) -> None:
    listing = open_source(put(tmp_path, "training_data", "validation_data", "test_data"))
    assert [len(listing.part(split)) for split in ("train", "val", "test")] == [4, 4, 4]


def test_a_split_may_lack_classes(tmp_path: Path) -> None:
    put(tmp_path, "Training")
    listing = open_source(put(tmp_path, "Testing", classes=("dog",)))
    assert (listing.classes, len(listing.part("test"))) == (("cat", "dog"), 2)
    assert listing.notes == ("No test images of 1 class: cat. Scores on test say nothing about it.",)


@pytest.mark.parametrize("names", [("training shoes", "test_tube"), ("train station", "test_tube", "valley")])
def test_classes_that_are_called_nearly_like_splits_stay_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    listing = open_source(put(tmp_path, ".", classes=names))
    assert listing.classes == tuple(sorted(names))
    assert {sample.split for sample in listing.samples} == {None}
    put(tmp_path / "nested", *(f"{name}/{n}" for n, name in enumerate(names)), classes=("x",))
    assert open_source(tmp_path / "nested").classes == tuple(sorted(names))


def test_images_that_are_said_to_have_no_labels_are_not_used(tmp_path: Path) -> None:
    put(tmp_path, "seg_train", "seg_test")
    (tmp_path / "seg_pred" / "seg_pred").mkdir(parents=True)
    (tmp_path / "seg_pred" / "seg_pred" / "1.jpg").touch()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "boxes.xml").touch()
    listing = open_source(tmp_path)
    assert len(listing.samples) == 8
    assert listing.notes == (
        "seg_pred/ beside the splits holds 1 image without labels, not used here; `predict` labels them.",
    )
    assert listing.ignored == ("annotations/boxes.xml",)


def test_other_class_folders_beside_splits_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, "Training", "Testing", "extra")
    assert "holds Testing/, Training/ with class folders inside, and beside it extra/" in error_of(tmp_path)


def test_splits_of_different_classes_are_an_error_that_asks(tmp_path: Path) -> None:
    put(tmp_path, "train_set")
    put(tmp_path, "test_set", classes=("unknown",))
    message = error_of(tmp_path)
    assert (
        "holds train_set/ and test_set/, which are called like splits, but hold other folders: cat, dog; unknown"
        in (message)
    )
    assert open_source(tmp_path, class_folders="outer").classes == ("test_set", "train_set")


def test_folders_that_hold_the_same_folders_are_an_error_that_asks(tmp_path: Path) -> None:
    put(tmp_path, "hospital_a", "hospital_b")
    message = error_of(tmp_path)
    assert "hospital_a/ and hospital_b/ hold folders of the same names (cat, dog)" in message
    assert "rename them to train/ and test/" in message
    assert "--class-folders inner" in message
    assert "--class-folders outer" in message
    outer, inner = (open_source(tmp_path, class_folders=level) for level in ("outer", "inner"))
    assert (outer.classes, len(outer.samples)) == (("hospital_a", "hospital_b"), 8)
    assert (inner.classes, len(inner.samples)) == (("cat", "dog"), 8)
    assert inner.reading.class_folders == "inner"


def test_the_same_is_asked_inside_a_split(tmp_path: Path) -> None:
    put(tmp_path, "train/site1", "train/site2", "test/site1")
    assert "site1/ and site2/ hold folders of the same names" in error_of(tmp_path)
    inner = open_source(tmp_path, class_folders="inner")
    assert (inner.classes, len(inner.part("train")), len(inner.part("test"))) == (("cat", "dog"), 8, 4)


@pytest.mark.parametrize("inside", [("Imgs",), ("2021", "2022"), ()])
def test_a_folder_of_images_in_each_class_is_no_reason_to_ask(tmp_path: Path, inside: tuple[str, ...]) -> None:
    """As in a well-known set of surface defects; and one class with folders of its own."""
    put(tmp_path, "crack", classes=inside or ("a", "b"))
    put(tmp_path, "break", classes=inside[:1] or ("c", "d"))
    assert open_source(tmp_path).classes == ("break", "crack")


def test_a_data_folder_one_level_above_is_entered(tmp_path: Path) -> None:
    listing = open_source(put(tmp_path / "splits", "set/train", "set/test"))
    assert (listing.classes, len(listing.part("test"))) == (("cat", "dog"), 4)
    (tmp_path / "splits" / "documents").mkdir()
    (tmp_path / "splits" / "documents" / "paper.pdf").touch()
    assert open_source(tmp_path / "splits").samples == listing.samples
    classes = open_source(put(tmp_path / "classes", "set"))
    assert classes.classes == ("cat", "dog")
    assert classes.notes == ("The only folder is set/; the folders in it are the classes: cat, dog.",)


def test_a_single_class_is_no_folder_to_enter(tmp_path: Path) -> None:
    assert open_source(put(tmp_path / "a", ".", classes=("cat",))).classes == ("cat",)
    assert open_source(put(tmp_path / "b", "cat", classes=("2021",))).classes == ("cat",)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("Training", ("train", ())),
        ("seg_test", ("test", ("seg",))),
        ("valSet2", ("val", ())),
        ("test_tube", ("test", ("tube",))),
        ("train_val", None),
        ("constraint", None),
        ("latest", None),
        ("valley", None),
        ("évaluation_test", ("test", ("é", "valuation"))),
    ],
)
def test_which_split_a_name_speaks_of(name: str, means: object) -> None:
    found = split_of(name)
    assert found == means or (found is not None and means is not None and found[0] == means[0])  # type: ignore[index]
