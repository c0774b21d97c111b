"""Hugging Face data sets: which columns and splits are used, and where their images end up."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import Listing, hub, open_source
from finetune_advisor.images.tables import manifest_text
from finetune_advisor.storage.files import cache_root

datasets = pytest.importorskip("datasets")
NAMES = datasets.ClassLabel(names=["cat", "dog", "never seen"])
PICTURE = datasets.Image()

Data = Any
"""A `Dataset` or a `DatasetDict`: the library is optional, and so are its types."""


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_is_reachable", lambda url: True)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


def encoded(color: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (color, 0, 0)).save(stream, kind)
    return stream.getvalue()


def made(features: dict[str, Any] | None = None, **columns: object) -> Data:
    """A data set of four images with labels, and what is said beside these."""
    everything = {
        "image": [{"bytes": encoded(n), "path": None} for n in range(4)],
        "label": [0, 1, 1, 0],
        **columns,
    }
    kinds = {"image": PICTURE, "label": NAMES, **(features or {})}
    return datasets.Dataset.from_dict(everything, features=datasets.Features(kinds))


def saved(path: Path, data: Data) -> Path:
    data.save_to_disk(path)
    return path


def error_of(path: Path | str, *, group: str | None = None, label_column: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        open_source(path, group=group, label_column=label_column)
    assert caught.value.hint, "an error without a hint leaves the person alone"
    return str(caught.value)


def test_images_are_written_as_they_are_and_listed_by_row(tmp_path: Path) -> None:
    path = saved(tmp_path / "pets", made())
    listing = open_source(path)
    assert (listing.classes, listing.source) == (("cat", "dog"), str(path))
    assert [(s.name, listing.classes[s.label], s.split) for s in listing.samples] == [
        ("images/0000000.png", "cat", None),
        ("images/0000001.png", "dog", None),
        ("images/0000002.png", "dog", None),
        ("images/0000003.png", "cat", None),
    ]
    assert [sample.path.read_bytes() for sample in listing.samples] == [encoded(n) for n in range(4)]


def test_a_table_names_them_by_data_set_and_row_and_finds_them_again(tmp_path: Path) -> None:
    listing = open_source(saved(tmp_path / "pets", made()))
    table = tmp_path / "analysis" / "clean.csv"
    table.parent.mkdir()
    table.write_text(manifest_text(listing.samples, listing.classes, relative_to=table.parent, packed=listing.packed))
    assert table.read_text().splitlines()[1] == "../pets/images/0000000.png,cat,"
    again = open_source(table)
    assert [sample.path.read_bytes() for sample in again.samples] == [encoded(n) for n in range(4)]
    assert (again.packed, again.root) == (listing.packed, listing.root)


def test_they_are_written_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "pets", made())
    first = open_source(path).samples[0].path
    written = first.stat().st_mtime_ns
    assert open_source(path).samples[0].path.stat().st_mtime_ns == written
    first.unlink()
    assert open_source(path).samples[0].path.read_bytes() == encoded(0), "a damaged cache is mended"
    other = saved(tmp_path / "others", made(image=[{"bytes": encoded(9), "path": None}] * 4))
    assert open_source(other).root != open_source(path).root


def test_known_splits_are_used_and_others_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = datasets.DatasetDict({"train": made(), "Validation": made(), "test": made(), "unsupervised": made()})
    listing = open_source(saved(tmp_path / "pets", parts))
    assert [len(listing.part(split)) for split in ("train", "val", "test")] == [4, 4, 4]
    [note] = listing.notes
    assert note == "Splits left out, which are none of train, validation and test: unsupervised (4 images)."
    assert note in caplog.text, "a warning, not only in the profile"
    assert "no split that is known here: trian; did you mean 'train'?" in error_of(
        saved(tmp_path / "odd", datasets.DatasetDict({"trian": made()}))
    )


def test_labels_may_be_texts_or_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = made({"label": datasets.Value("string")}, label=["ant", "bee", None, "bee"])
    listing = open_source(saved(tmp_path / "texts", texts))
    assert (listing.classes, len(listing.samples)) == (("ant", "bee"), 3)
    assert listing.notes == ("1 image left out of images, without a label.",)
    assert listing.notes[0] in caplog.text
    unlabeled = datasets.DatasetDict({"train": made(), "test": made(label=[-1, -1, -1, -1])})
    listing = open_source(saved(tmp_path / "unlabeled", unlabeled))
    assert (len(listing.part("train")), len(listing.part("test"))) == (4, 0)


def test_files_that_are_only_named_are_used_in_place(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"{n}.png").write_bytes(encoded(n))
    data = made(image=[{"bytes": None, "path": str(tmp_path / f"{n}.png")} for n in range(4)])
    listing = listed_from_memory(data)
    assert [sample.path for sample in listing.samples] == [tmp_path / f"{n}.png" for n in range(4)]


def listed_from_memory(data: Data) -> Listing:
    """Not by way of save_to_disk, which would embed the files."""
    return hub._listing(data, "hf:memory")


def test_a_missing_image_stays_so_that_it_is_reported() -> None:
    data = made(image=[{"bytes": encoded(0), "path": "x.JPG"}, None, None, {"bytes": b"no image", "path": None}])
    listing = listed_from_memory(data)
    assert [sample.name for sample in listing.samples] == [
        "images/0000000.jpg",
        "images/0000001",
        "images/0000002",
        "images/0000003",
    ]
    assert [sample.path.exists() for sample in listing.samples] == [True, False, False, True]


def test_groups(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kinds = {"group": datasets.Value("int64"), "patient": datasets.Value("string")}
    path = saved(tmp_path / "pets", made(kinds, group=[1, 1, 2, None], patient=["x", "y", "", "x"]))
    assert [sample.group for sample in open_source(path).samples] == ["1", "1", "2", None]
    assert [sample.group for sample in open_source(path, group="patient").samples] == ["x", "y", None, "x"]
    assert "no column 'patients' to group by; did you mean 'patient'?" in error_of(path, group="patients")


def test_columns_that_leave_a_choice(tmp_path: Path) -> None:
    fine = made({"fine": NAMES, "label": NAMES}, fine=[0, 1, 0, 1])
    assert open_source(saved(tmp_path / "fine", fine)).classes == ("cat", "dog"), "`label` is the usual name"
    both = fine.rename_column("label", "coarse")
    assert "several columns that may hold the labels: coarse, fine" in error_of(saved(tmp_path / "both", both))
    none = made().remove_columns("image")
    assert "no column with images" in error_of(saved(tmp_path / "none", none))
    unlabeled = made().remove_columns("label")
    message = error_of(saved(tmp_path / "unlabeled", unlabeled))
    assert "no column with labels" in message
    assert "Its columns: image (Image)" in message


def test_a_table_names_images_of_the_hub_by_data_set_and_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: datasets.DatasetDict({"train": made()}))
    table = tmp_path / "clean.csv"
    table.write_text("path,label,split\nhf:some/pets:small/train/0000001.png,dog,train\n")
    (sample,) = open_source(table).samples
    assert (sample.name, sample.path.read_bytes()) == ("train/0000001.png", encoded(1))
    listing = open_source("hf:some/pets:small")
    text = manifest_text(listing.samples, listing.classes, relative_to=tmp_path, packed=listing.packed)
    assert table.read_text().splitlines()[1] in text.splitlines()


def test_by_name_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None) -> Data:
        asked.append((name, config))
        return datasets.DatasetDict({"train": made()})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert open_source("hf:some/pets").source == "hf:some/pets"
    assert open_source(Path("hf:pets:small")).samples[0].split == "train"
    assert asked == [("some/pets", None), ("pets", "small")]
    assert "names no data set" in error_of("hf:")


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (ConnectionError("Couldn't reach 'pets' on the Hub"), "Connect to the network"),
        (FileNotFoundError("Dataset 'pets' doesn't exist on the Hub"), "Check the name"),
        (ValueError("Config name is missing.\nPlease pick one"), "hf:NAME:CONFIG"),
    ],
)
def test_what_the_library_reports_is_passed_on(monkeypatch: pytest.MonkeyPatch, problem: Exception, says: str) -> None:
    def load(name: str, config: str | None) -> Data:
        raise problem

    monkeypatch.setattr(datasets, "load_dataset", load)
    message = error_of("hf:pets")
    assert f"hf:pets cannot be loaded: {str(problem).splitlines()[0].rstrip('.')}." in message
    assert says in message


def test_without_a_network_it_fails_at_once_or_takes_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_is_reachable", lambda url: False)
    start = time.perf_counter()
    message = error_of("hf:nobody/pets")
    assert time.perf_counter() - start < 5, "the library by itself tries again for minutes"
    assert "hf:nobody/pets cannot be loaded" in message
    assert "Connect to the network" in message
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: datasets.DatasetDict({"train": made()}))
    [note] = open_source("hf:nobody/pets").notes
    assert "cannot be reached: hf:nobody/pets is read from the cache" in note
    assert not datasets.config.HF_HUB_OFFLINE, "the library's settings are as before"


def test_columns_that_a_person_names(tmp_path: Path) -> None:
    kinds = {"photo": PICTURE, "kind": datasets.Value("string")}
    path = saved(tmp_path / "pets", made(kinds, photo=made()["image"], kind=["x", "y", "y", "nan"]))
    listing = open_source(path, path_column="photo", label_column="kind")
    assert (listing.classes, len(listing.samples)) == (("x", "y"), 3)
    assert "no column 'knid' with labels; did you mean 'kind'?" in error_of(path, label_column="knid")


def test_a_damaged_folder(tmp_path: Path) -> None:
    path = saved(tmp_path / "pets", made())
    next(path.glob("*.arrow")).write_bytes(b"damaged")
    assert f"{path} cannot be loaded" in error_of(path)


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "pets", made())
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in (path, "hf:pets"):
        assert "pip install datasets huggingface-hub" in error_of(source)


def test_images_with_dataset_info_beside_them_are_a_folder(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg", "dataset_info.json"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_text(json.dumps({}))
    assert open_source(tmp_path / "set").classes == ("a", "b")
    assert not cache_root().exists()


def test_listing_loads_no_torch(tmp_path: Path) -> None:
    path = saved(tmp_path / "pets", made())
    script = f"""
import sys
from finetune_advisor.images.sources import open_source
open_source({str(path)!r})
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
