"""Class names that are nearly the same, several in one, or none."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from finetune_advisor.images.sources import open_source
from finetune_advisor.images.sources.listing import called_as, likeness

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


def folders(root: Path, counts: dict[str, int]) -> Path:
    for name, images in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(images):
            (root / name / f"{number}.jpg").touch()
    return root


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("Dog", "dog", "DOG"), "'DOG' = 'Dog' = 'dog'"),
        ((NFC, NFD), f"'{NFD}' (decomposed accents) = '{NFC}'"),
        (("cat", "cat "), "'cat' = 'cat '"),
        (("0", "0.0"), "'0' = '0.0'"),
        (("7", "007"), "'007' = '7'"),
        (("red fox", "red  fox"), "'red  fox' = 'red fox'"),
    ],
)
def test_names_that_are_nearly_the_same_are_named_and_can_be_merged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], shown: str
) -> None:
    root = folders(tmp_path, {"other": 2, **{name: 2 + (name == names[1]) for name in names}})
    apart = open_source(root)
    assert len(apart.classes) == 1 + len(names)
    [note] = apart.notes
    assert shown in note
    assert "--merge-classes (recipe: data.merge_classes: true)" in note
    assert note in caplog.text
    together = open_source(root, merge_classes=True)
    assert set(together.classes) == {"other", names[1]}, "the name of the most images"
    assert len(together.samples) == len(apart.samples)
    assert [together.classes[s.label] for s in together.samples].count("other") == 2
    assert f"Merged into one class each: {shown}" in together.notes[0]
    assert len(together.notes) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("A-", "A"), ("1", "-1"), ("1.5", "1"), ("a_b", "a b"), ("é", "e"), ("10", "1")]
)
def test_names_that_are_not_the_same(one: str, other: str) -> None:
    assert likeness(one) != likeness(other)


def test_labels_of_a_table_are_merged_too(tmp_path: Path) -> None:
    folders(tmp_path / "x", {"i": 4})
    rows = zip(range(4), ("Dog", "dog", "cat", "CAT"), strict=True)
    (tmp_path / "x.csv").write_text("path,label\n" + "".join(f"x/i/{n}.jpg,{label}\n" for n, label in rows))
    assert open_source(tmp_path / "x.csv").classes == ("CAT", "Dog", "cat", "dog")
    assert open_source(tmp_path / "x.csv", merge_classes=True).classes == ("CAT", "Dog")


def test_a_class_of_another_spelling_in_another_split(tmp_path: Path) -> None:
    for split, name in (("train", "dog"), ("test", "Dog")):
        folders(tmp_path / split, {"cat": 2, name: 2})
    listing = open_source(tmp_path, merge_classes=True)
    assert listing.classes == ("Dog", "cat")
    assert [len({s.label for s in listing.part(split)}) for split in ("train", "test")] == [2, 2]


@pytest.mark.parametrize("label", ["cat;furry", "cat|dog", "cat; dog; bird", "cat, dog", "cat+dog", "x;y"])
def test_several_labels_in_one_are_named(tmp_path: Path, label: str, caplog: pytest.LogCaptureFixture) -> None:
    [note] = open_source(folders(tmp_path, {"cat": 2, "dog": 2, label: 2})).notes
    assert repr(label) in note
    assert "images with several labels are not supported" in note
    assert note in caplog.text


@pytest.mark.parametrize("label", ["black and white", "rock, paper", "C++", "AT&T", "4-door"])
def test_signs_in_a_name_are_no_several_labels(tmp_path: Path, label: str) -> None:
    assert open_source(folders(tmp_path, {"cat": 2, label: 2})).notes == ()


def test_a_folder_called_like_a_missing_label_is_named(tmp_path: Path) -> None:
    [note] = open_source(folders(tmp_path, {"cat": 2, "NaN": 2})).notes
    assert "A class is called 'NaN'" in note


def test_a_validation_split_that_lacks_a_class_is_named(tmp_path: Path) -> None:
    folders(tmp_path / "train", {"cat": 2, "dog": 2, "owl": 2})
    folders(tmp_path / "val", {"cat": 2})
    [note] = open_source(tmp_path).notes
    assert note == "No val images of 2 classes: dog, owl. Scores on val say nothing about them."


def test_other_images_are_called_as_a_model_calls_them(tmp_path: Path) -> None:
    listing = open_source(folders(tmp_path, {"DOG": 1, "Dog": 1, "cat": 2}))
    assert called_as(listing, ["cat", "dog"]).classes == ("cat", "dog")
