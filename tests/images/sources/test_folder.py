"""Which folders are accepted, what a person is told about those that are not."""

import os
import re
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import open_source, require_trainable
from finetune_advisor.images.sources.scan import natural
from tests.conftest import ImageFolder


def put(*paths: Path) -> None:
    """Empty files will do: listing opens no image."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def flat(root: Path) -> Path:
    put(*(root / name / f"{number}.jpg" for name in ("ants", "bees") for number in range(2)))
    return root


def error_of(path: Path | str) -> str:
    """What a person who wants to train on these images is told."""
    with pytest.raises(DataError) as caught:
        require_trainable(open_source(path))
    assert caught.value.hint, "an error without a hint leaves the person alone"
    return str(caught.value)


def test_class_folders_become_labels(image_folder: ImageFolder) -> None:
    root = image_folder({"bees": 3, "ants": 2})
    listing = open_source(root)
    assert listing.classes == ("ants", "bees")
    assert [sample.label for sample in listing.samples] == [0, 0, 1, 1, 1]
    assert listing.samples[0].name == "ants/000.png"
    assert listing.samples[0].path == root / "ants" / "000.png"
    assert all(sample.split is None for sample in listing.samples)


def test_a_relative_path_gives_absolute_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    listing = open_source("data/")
    assert listing.root == tmp_path / "data"
    assert listing.source == str(tmp_path / "data")
    assert listing.samples[0].path.is_absolute()
    assert listing.samples[0].name == "ants/0.jpg"


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val", "VALIDATION"])
def test_split_folders_in_any_case(tmp_path: Path, validation: str) -> None:
    for split in ("Train", validation, "TEST"):
        flat(tmp_path / split)
    listing = open_source(tmp_path)
    assert listing.classes == ("ants", "bees")
    assert {(sample.name.split("/")[0], sample.split) for sample in listing.samples} == {
        ("Train", "train"),
        (validation, "val"),
        ("TEST", "test"),
    }
    assert len(listing.part("val")) == 4


def test_val_and_test_may_lack_classes(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    put(tmp_path / "val" / "ants" / "x.png", tmp_path / "test" / "bees" / "y.png")
    (tmp_path / "test" / "ants").mkdir()
    listing = open_source(tmp_path)
    assert listing.classes == ("ants", "bees")
    assert [sample.label for sample in listing.part("test")] == [1]


def test_one_training_image_is_enough_beside_one_to_validate(tmp_path: Path) -> None:
    put(*(tmp_path / split / name / "1.png" for split in ("train", "val") for name in ("a", "b")))
    assert len(open_source(tmp_path).samples) == 4


def test_any_common_suffix_in_any_case(tmp_path: Path) -> None:
    suffixes = ["jpg", "JPG", "jpeg", "JFIF", "png", "Png", "bmp", "gif", "tif", "TIFF", "webp", "ppm", "pgm"]
    suffixes += ["avif", "HEIC", "heif"]  # also where they cannot be read, which is said of each then
    put(*(tmp_path / name / f"x{index}.{suffix}" for name in "ab" for index, suffix in enumerate(suffixes)))
    assert len(open_source(tmp_path).samples) == 2 * len(suffixes)


def test_clutter_is_passed_over_and_other_files_are_named(tmp_path: Path) -> None:
    flat(tmp_path)
    put(
        tmp_path / ".DS_Store",
        tmp_path / ".git" / "x.png",
        tmp_path / "__MACOSX" / "ants" / "._0.jpg",
        tmp_path / ".ipynb_checkpoints" / "x.png",
        tmp_path / "ants" / "._0.jpg",
        tmp_path / "ants" / "Thumbs.db",
        tmp_path / "ants" / "notes.txt",
        tmp_path / "labels.csv",
        tmp_path / "preview.png",
    )
    listing = open_source(tmp_path)
    assert listing.classes == ("ants", "bees")
    assert len(listing.samples) == 4
    assert listing.ignored == ("ants/notes.txt", "labels.csv", "preview.png")


def test_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    flat(tmp_path)
    put(tmp_path / "ants" / "2021" / "may" / "deep.jpg")
    listing = open_source(tmp_path)
    assert [s.label for s in listing.samples if s.name == "ants/2021/may/deep.jpg"] == [0]


def test_order_is_natural(tmp_path: Path) -> None:
    put(*(tmp_path / f"class {c}" / f"img{i}.png" for c in (10, 2) for i in (10, 9, 1)))
    listing = open_source(tmp_path)
    assert listing.classes == ("class 2", "class 10")
    assert [s.name for s in listing.samples[:3]] == [f"class 2/img{i}.png" for i in (1, 9, 10)]


@pytest.mark.parametrize(
    "name", ["fire ants", "fourmis rouges, été", "<script>alert(1)</script>", "蟻", "a'b\"c", "-x"]
)
def test_odd_class_names_are_kept(tmp_path: Path, name: str) -> None:
    flat(tmp_path)
    folder = tmp_path / name.replace("/", "∕")
    put(folder / "1.png", folder / "2.png")
    assert folder.name in open_source(tmp_path).classes


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    put(*(tmp_path / name / f"{i}.png" for name in ("train", "bus", "car") for i in range(2)))
    assert open_source(tmp_path).classes == ("bus", "car", "train")


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    stock = flat(tmp_path / "stock")
    root = tmp_path / "data"
    root.mkdir()
    (root / "ants").symlink_to(stock / "ants")
    (root / "bees").mkdir()
    (root / "bees" / "linked.jpg").symlink_to(stock / "bees" / "0.jpg")
    (root / "bees" / "more").symlink_to(stock / "bees")
    (stock / "bees" / "circle").symlink_to(stock / "bees")
    (root / "bees" / "self").symlink_to(root / "bees" / "self")
    bees = {s.name for s in open_source(root).samples if s.label == 1}
    assert bees == {"bees/linked.jpg", "bees/more/0.jpg", "bees/more/1.jpg"}


def test_links_back_into_the_data_do_not_count_images_twice(tmp_path: Path) -> None:
    root = flat(tmp_path / "data")
    for link, target in (
        ("latest", root),
        ("wasps", root / "bees"),
        ("bees/up", root),
        ("bees/out", tmp_path),
        ("ants/bees", root / "bees"),
    ):
        (root / link).symlink_to(target)
    put(root / ".pool" / "flies" / "0.jpg", root / ".pool" / "flies" / "1.jpg")
    (root / "flies").symlink_to(root / ".pool" / "flies")
    listing = open_source(root)
    assert listing.classes == ("ants", "bees", "flies"), "what is hidden is reached only by the link"
    assert len(listing.samples) == 6
    [note] = listing.notes
    assert note == "5 links back into the data not followed: ants/bees, bees/out, bees/up, latest, wasps."


def test_a_dangling_link_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / "ants" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert "ants/lost.jpg" in [s.name for s in open_source(tmp_path).samples]


def test_no_such_folder_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "hymenoptera").mkdir()
    message = error_of(tmp_path / "hymenotpera")
    assert "There is no folder" in message
    assert "did you mean 'hymenoptera'?" in message


@pytest.mark.parametrize(
    ("there", "typed", "says"),
    [
        ("photos/data", "photso/data", None),
        ("photos/data", "Photos/data", "which differs in case"),
        ("photos/data", "photos /data", "which differs in surrounding blanks"),
        ("deep/photos", "photos", "in another folder"),
        ("caf\u00e9/data", "cafe\u0301/data", "which differs in how accents are encoded"),
    ],
)
def test_a_path_to_the_data_that_is_nearly_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, typed: str, says: str | None
) -> None:
    (tmp_path / there).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    message = error_of(typed)
    assert f"There is no folder {tmp_path / typed}" in message
    if says:
        assert f"There is {tmp_path / there}, {says}" in message


def test_a_url_is_named() -> None:
    assert "https://example.org/data.zip is a URL" in error_of("https://example.org/data.zip")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("labels.xlsx", "is a spreadsheet"),
        ("images.rar", "is packed in a way that is not read here"),
        ("images.gz", "is packed in a way that is not read here"),
        ("photo.jpg", "is a single image"),
        ("notes.docx", "is a file of an unknown kind"),
    ],
)
def test_files_are_refused_by_kind(tmp_path: Path, name: str, says: str) -> None:
    put(tmp_path / name)
    assert says in error_of(tmp_path / name)


def test_a_folder_has_no_column_to_group_by(tmp_path: Path) -> None:
    flat(tmp_path)
    with pytest.raises(DataError, match="is a folder, which has no column 'patient'") as caught:
        open_source(tmp_path, group="patient")
    assert "write a manifest" in str(caught.value)


@pytest.mark.parametrize(("there", "typed"), [("labels.csv", "lables.csv"), ("images.zip", "imagse.zip")])
def test_no_such_file_suggests_the_nearest(tmp_path: Path, there: str, typed: str) -> None:
    put(tmp_path / there)
    message = error_of(tmp_path / typed)
    assert f"There is no file {tmp_path / typed}; did you mean {there!r}?" in message


@pytest.mark.parametrize(
    "name", ["img", "01", "1", "img2", "img10", "img 2", "img2b", "a/1", "a b/1", "0", "00", "9" * 5000]
)
def test_natural_order_is_that_of_texts_and_numbers_in_turn(name: str) -> None:
    def reference(name: str) -> tuple[tuple[tuple[int, str] | str, ...], str]:
        parts = re.split("([0-9]+)", name)
        return tuple((len(part.lstrip("0")), part.lstrip("0")) if i % 2 else part for i, part in enumerate(parts)), name

    for other in ["img", "imga", "img02", "img2", "img2a", "a/2", "a/10", "a", "", "1", "01", "10", "000", "éa1", "é"]:
        assert (natural(name) < natural(other)) == (reference(name) < reference(other)), (name, other)


def test_empty_folder(tmp_path: Path) -> None:
    assert "is empty" in error_of(tmp_path)


def test_folder_of_other_files(tmp_path: Path) -> None:
    put(tmp_path / "readme.txt")
    assert "no images and no class folders, only 1 other file such as readme.txt" in error_of(tmp_path)


def test_images_without_class_folders(tmp_path: Path) -> None:
    put(tmp_path / "1.jpg", tmp_path / "2.jpg")
    message = error_of(tmp_path)
    assert "2 images (such as" in message
    assert "no class folders" in message


def test_unlabeled_test_images(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    put(tmp_path / "test" / "1.jpg")
    message = error_of(tmp_path)
    assert f"{tmp_path / 'test'} holds 1 image" in message
    assert "predict" in message


def test_one_class(tmp_path: Path) -> None:
    put(tmp_path / "ants" / "1.jpg", tmp_path / "ants" / "2.jpg")
    assert "only one class, 'ants'" in error_of(tmp_path)


def test_every_empty_class_is_named(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / "wasps").mkdir()
    put(tmp_path / "flies" / "fly.doc")
    message = error_of(tmp_path)
    assert "2 class folders without images: flies, wasps (only 1 other file such as fly.doc)" in message
    assert "jpg" in message


def test_every_class_with_a_single_image_is_named(tmp_path: Path) -> None:
    flat(tmp_path)
    put(tmp_path / "wasps" / "1.png", tmp_path / "flies" / "1.png")
    assert "2 classes with a single image to train on: flies, wasps" in error_of(tmp_path)


def test_test_images_are_no_training_images(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    put(tmp_path / "train" / "wasps" / "1.png", tmp_path / "test" / "wasps" / "2.png")
    assert "1 class with a single image to train on: wasps" in error_of(tmp_path)


def test_a_class_only_in_test(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    put(tmp_path / "test" / "wasps" / "1.png")
    assert "The test split has images of a class 'wasps', the train split has none" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("there", "here"), [("Ants", "ants"), (unicodedata.normalize("NFD", "été"), unicodedata.normalize("NFC", "été"))]
)
def test_classes_that_differ_only_to_the_computer(tmp_path: Path, there: str, here: str) -> None:
    flat(tmp_path / "train")
    put(*(tmp_path / "train" / here / f"{number}.png" for number in range(5, 7)))
    put(tmp_path / "val" / there / "1.png")
    message = error_of(tmp_path)
    assert "differs only in case, blanks, or in how accents are encoded" in message
    assert "--merge-classes" in message


def test_train_beside_class_folders(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    flat(tmp_path)
    message = error_of(tmp_path)
    assert "train/ with class folders inside, and beside it ants/, bees/" in message


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        flat(tmp_path / name)
    assert "both val/ and valid/" in error_of(tmp_path)


def test_a_class_that_is_empty_in_train(tmp_path: Path) -> None:
    flat(tmp_path / "train")
    (tmp_path / "train" / "wasps").mkdir()
    put(tmp_path / "val" / "wasps" / "1.png", tmp_path / "val" / "wasps" / "2.png")
    assert "The val split has images of a class 'wasps', the train split has none" in error_of(tmp_path)


def test_test_without_train(tmp_path: Path) -> None:
    flat(tmp_path / "test")
    assert "holds images for test but none for train" in error_of(tmp_path)


def test_what_is_too_little_to_train_on_can_be_listed(tmp_path: Path) -> None:
    """To score a model one class or one image will do, and no train/ is needed."""
    put(tmp_path / "flat" / "ants" / "1.png", tmp_path / "split" / "test" / "bees" / "1.png")
    (tmp_path / "split" / "test" / "wasps").mkdir()
    for name, classes, split in (("flat", ("ants",), None), ("split", ("bees",), "test")):
        listing = open_source(tmp_path / name)
        assert listing.classes == classes
        assert [(sample.label, sample.split) for sample in listing.samples] == [(0, split)]


def test_what_can_be_trained_on_is_accepted(tmp_path: Path) -> None:
    flat(tmp_path / "flat")
    put(*(tmp_path / "split" / part / name / "1.png" for part in ("train", "val") for name in ("a", "b")))
    for name in ("flat", "split"):
        require_trainable(open_source(tmp_path / name))


def test_a_forbidden_folder_is_named(tmp_path: Path) -> None:
    flat(tmp_path)
    forbidden = tmp_path / "ants"
    forbidden.chmod(0)
    script = f"""
import os, sys
from finetune_advisor.images.sources import open_source
from finetune_advisor.errors import DataError
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    open_source({str(tmp_path)!r})
except DataError as error:
    print(error)
"""
    if os.geteuid() == 0:
        for folder in [tmp_path, *tmp_path.parents]:
            if folder.stat().st_uid == 0 and folder != Path("/") and "pytest" in str(folder):
                folder.chmod(0o755)
    try:
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    finally:
        forbidden.chmod(0o755)
    if ended.returncode:
        pytest.skip(f"no unprivileged process to be had here: {ended.stderr.splitlines()[-1]}")
    assert f"No permission to read the folder {forbidden}" in ended.stdout
    assert "chmod" in ended.stdout


def test_listing_is_fast(tmp_path: Path) -> None:
    put(*(tmp_path / name / f"{number}.jpg" for name in "ab" for number in range(1000)))
    start = time.perf_counter()
    assert len(open_source(tmp_path).samples) == 2000
    assert time.perf_counter() - start < 1


def test_real_folders_are_accepted(shared_data: Path) -> None:
    listing = open_source(shared_data / "tile_defects")
    assert listing.classes == ("blowhole", "break", "crack", "fray", "free", "uneven")
    assert (len(listing.part("train")), len(listing.part("test"))) == (895, 449)
    assert listing.ignored == ("groups.csv",)
    assert listing.notes == ()
