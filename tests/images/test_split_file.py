"""splits.csv keeps what was split, and resuming notices when the images are no longer the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.duplicates import family_ids
from finetune_advisor.images.sources import Listing, Sample, Split
from finetune_advisor.images.split import apply_splits, load_groups, load_splits, save_splits

ODD = ["a, b/1.jpg", 'say "x"/2.jpg', "two\nlines/3.jpg", "été 蟻/4.jpg", "bad\udcff name/5.jpg"]


@pytest.fixture
def listing() -> Listing:
    samples = tuple(Sample("/x", name, index % 2, "train") for index, name in enumerate(ODD))
    return Listing(Path("/x"), "/x", ('cl,"ass"', "<b>"), (*samples[:3], *map(validate, samples[3:])), ())


def validate(sample: Sample) -> Sample:
    return replace(sample, split="val")


def unsplit(listing: Listing) -> Listing:
    return replace(listing, samples=tuple(replace(s, split=None) for s in listing.samples))


def test_odd_names_survive(listing: Listing, tmp_path: Path) -> None:
    save_splits(listing, tmp_path / "splits.csv")
    saved = load_splits(tmp_path / "splits.csv")
    assert list(saved) == ODD
    assert saved["a, b/1.jpg"] == ('cl,"ass"', "train")
    assert apply_splits(unsplit(listing), saved) == listing


def test_relatives_are_noted_and_images_alone_have_no_group(listing: Listing, tmp_path: Path) -> None:
    save_splits(listing, tmp_path / "splits.csv", family_N=np.array([3, 0, 3, 1, 2]))
    assert load_splits(tmp_path / "splits.csv")["a, b/1.jpg"] == ('cl,"ass"', "train")
    groups = load_groups(tmp_path / "splits.csv")
    assert groups == {ODD[0]: "3", ODD[2]: "3"}
    names = [ODD[2], ODD[1], ODD[0], "3"]
    assert family_ids(4, digests=(), groups=[groups.get(name) for name in names]).tolist() == [0, 1, 0, 2]


def test_a_spreadsheet_may_have_saved_it(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbfpath,label,split\r\na/1.jpg,a,val\r\n")
    assert load_splits(tmp_path / "s.csv") == {"a/1.jpg": ("a", "val")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the columns are missing"),
        ("path,split\n", "line 1: the columns are path, split"),
        ("path,label,split\na,b,train\na,b\n", "line 3: found 'a,b'"),
        ("path,label,split\na,b,dev\n", "line 2: found 'a,b,dev'"),
        ("path,label,split\na,b,train\na,b,val\n", "line 3: found 'a,b,val'"),
        ('path,label,split\n"a,b,train\n', "line 2"),
    ],
)
def test_damage_is_located(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load_splits(tmp_path / "s.csv")
    assert "Expected the columns path,label,split" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"s\.csv cannot be read: No such file"):
        load_splits(tmp_path / "s.csv")


def test_changed_images_are_listed(listing: Listing) -> None:
    saved = {sample.name: (listing.classes[sample.label], sample.split) for sample in listing.samples if sample.split}
    first, second, *rest = listing.samples
    new = replace(first, name="new.jpg")
    moved = replace(second, label=0)
    with pytest.raises(DataError) as caught:
        apply_splits(replace(listing, samples=(new, moved, *rest)), saved)
    message = str(caught.value)
    assert "1 image gone: a, b/1.jpg" in message
    assert "1 image new: new.jpg" in message
    assert '1 image in another class: say "x"/2.jpg (<b> -> cl,"ass")' in message


def test_long_lists_are_cut(listing: Listing) -> None:
    saved: dict[str, tuple[str, Split]] = {f"{number}.jpg": ("<b>", "train") for number in range(30)}
    with pytest.raises(DataError, match=r"9\.jpg and 20 more"):
        apply_splits(replace(listing, samples=()), saved)
