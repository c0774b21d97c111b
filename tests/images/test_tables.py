"""What no training can miss is left out, and nothing else; what wants a look is in a table of its own."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import Listing, Sample, open_source
from finetune_advisor.images.sources.listing import Split
from finetune_advisor.images.tables import clean_manifest, review_table
from finetune_advisor.records.health import (
    BadFile,
    BlankImage,
    Health,
    Imbalance,
    LabelSuspect,
    NearDuplicates,
    OddImage,
    Outlier,
)

ROOT = Path("/data/pictures")
CLASSES = ("ants", "bees")


def sample(name: str, split: Split | None = None, group: str | None = None) -> Sample:
    label = 1 if name.startswith("b") else 0
    return Sample(root=str(ROOT), name=name, label=label, split=split, group=group)


def listing_of(*samples: Sample) -> Listing:
    return Listing(root=ROOT, source=str(ROOT), classes=CLASSES, samples=samples, ignored=())


def found(**faults: object) -> Health:
    nothing = Health(
        bad_files=(),
        ignored_files=(),
        exact_duplicates=(),
        duplicates_across_splits=(),
        duplicates_across_classes=(),
        imbalance=Imbalance(largest="ants", smallest="bees", ratio=1),
    )
    return nothing.model_copy(update=faults)


def near(*names: str) -> NearDuplicates:
    return NearDuplicates(images=names, correlation=0.95)


def suspect(name: str) -> LabelSuspect:
    return LabelSuspect(path=name, label="ants", suggestion="bees", label_probability=0.1, suggestion_probability=0.9)


def kept(listing: Listing, health: Health) -> list[str]:
    rows = csv.DictReader(io.StringIO(clean_manifest(listing, health, relative_to=ROOT)))
    return [row["path"] for row in rows]


def test_a_sound_data_set_is_kept_whole_with_its_own_splits() -> None:
    listing = listing_of(sample("a1", "train"), sample("b1", "test"), sample("b,2 é"))
    text = clean_manifest(listing, found(), relative_to=Path("/data"))
    assert text == 'path,label,split\npictures/a1,ants,train\npictures/b1,bees,test\n"pictures/b,2 é",bees,\n'


def test_groups_are_written_when_there_are_some() -> None:
    listing = listing_of(sample("a1", group="p1"), sample("b1"))
    text = clean_manifest(listing, found(), relative_to=ROOT)
    assert text == "path,label,split,group\na1,ants,,p1\nb1,bees,,\n"


def test_paths_lead_out_of_the_manifests_folder() -> None:
    text = clean_manifest(listing_of(sample("a1")), found(), relative_to=ROOT / "analysis")
    assert "../a1,ants," in text


def test_unreadable_files_are_left_out_but_nothing_that_only_wants_a_look() -> None:
    listing = listing_of(sample("a1", "train"), sample("a2", "train"), sample("a3", "test"), sample("a4", "test"))
    health = found(
        bad_files=(BadFile(path="a4", reason="cut"),),
        label_suspects=(suspect("a2"), suspect("a3")),
        near_duplicates=(near("a1", "a2"),),
        blank_images=(BlankImage(path="a1", reason="all black"),),
        outliers=(Outlier(path="a2", label="ants", distance=3),),
        odd_images=(OddImage(path="a2", reason="small"),),
    )
    assert kept(listing, health) == ["a1", "a2", "a3"]


def test_one_of_the_copies_stays() -> None:
    listing = listing_of(*(sample(f"a{number}") for number in range(6)))
    health = found(exact_duplicates=(("a0", "a1"), ("a4", "a5")), near_duplicates=(near("a1", "a2"),))
    assert kept(listing, health) == ["a0", "a2", "a3", "a4"]


@pytest.mark.parametrize(
    ("splits", "stays"),
    [
        (("train", "test"), ["a1"]),
        (("test", "val"), ["a0"]),
        (("train", "val"), ["a1"]),
        (("test", "test"), ["a0", "a1"]),
        ((None, "test"), ["a1"]),
    ],
)
def test_copies_leave_the_part_that_is_trained_on(splits: tuple[Split | None, Split | None], stays: list[str]) -> None:
    listing = listing_of(sample("a0", splits[0]), sample("a1", splits[1]))
    assert kept(listing, found(exact_duplicates=(("a0", "a1"),))) == stays


def test_of_copies_that_contradict_each_other_one_of_each_label_stays() -> None:
    listing = listing_of(*(sample(name, "train") for name in ("a0", "a1", "b1", "b2")), sample("b3", "test"))
    assert kept(listing, found(exact_duplicates=(("a0", "a1", "b1"),))) == ["a0", "b1", "b2", "b3"]
    assert kept(listing, found(exact_duplicates=(("a0", "b2", "b3"),))) == ["a1", "b1", "b3"], "not beside a test copy"


def reviewed(listing: Listing, health: Health, relative_to: Path = ROOT) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(review_table(listing, health, relative_to=relative_to))))


def test_what_wants_a_look_is_named_with_label_suggestion_reason_and_distance() -> None:
    listing = listing_of(sample("a1"), sample("a2"), sample("b3"), sample("b4", "test"))
    health = found(
        label_suspects=(suspect("a2"),),
        near_duplicates=(near("a1", "b3"),),
        duplicates_across_classes=(("a1", "b3"),),
        blank_images=(BlankImage(path="b4", reason="all black"),),
        outliers=(Outlier(path="b4", label="bees", distance=3.25),),
        odd_images=(OddImage(path="a1", reason="much smaller"), OddImage(path="gone", reason="no such image")),
    )
    same = "perhaps the same picture as {}, which is labeled {}: a label may be wrong"
    assert [tuple(row.values()) for row in reviewed(listing, health)] == [
        ("a1", "ants", "bees", same.format("b3", "bees"), "0.05"),
        ("b3", "bees", "ants", same.format("a1", "ants"), "0.05"),
        ("a2", "ants", "bees", "the label may be wrong: classifiers give bees 0.90, ants 0.10", "0.8"),
        ("b4", "bees", "", "blank: all black", ""),
        ("b4", "bees", "", "far from all other images", "3.25"),
        ("a1", "ants", "", "much smaller", ""),
    ]
    assert reviewed(listing, found()) == []


@pytest.mark.parametrize("top", ["", "photos/"])
def test_images_of_an_archive_are_named_by_its_members_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("train/ants/1.jpg", "train/bees/2.jpg", "test/ants/3.jpg", "test/bees/4.jpg"):
            archive.writestr(top + name, name)
    listing = open_source(tmp_path / "set.zip")
    table = tmp_path / "analysis" / "clean.csv"
    table.parent.mkdir()
    for _ in range(2):  # of the archive, then of the table itself
        health = found(bad_files=(BadFile(path=listing.samples[-1].name, reason="cut"),))
        table.write_text(clean_manifest(listing, health, relative_to=table.parent))
        lines = table.read_text().splitlines()[1:]
        assert f"../set.zip/{top}test/ants/3.jpg,ants,test" in lines and "cache" not in table.read_text()
        shutil.rmtree(tmp_path / "cache")
        again = open_source(table)
        assert [(s.split, s.path.read_text()) for s in again.samples] == [
            (s.name.removeprefix(top).split("/")[0], s.name.removeprefix(top)) for s in listing.samples[:-1]
        ]
        listing = again


def test_a_table_that_leads_into_an_archive_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("ants/1.jpg", b"")
    table = tmp_path / "t.csv"
    table.write_text("path,label\nset.zip/ants/1.jpg,ants\nother/2.jpg,bees\n")
    with pytest.raises(DataError, match=r"outside set\.zip/, which the first path leads into"):
        open_source(table)
    table.write_text("path,label\nset.zip/ants/1.jpg,ants\nset.zip/../../2.jpg,bees\n")
    with pytest.raises(DataError, match="leads out of the archive"):
        open_source(table)


def test_a_name_that_is_no_unicode_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    listing = listing_of(sample("a0"), sample("a1"))
    odd = replace(listing.samples[1], name="caf\udce9")
    assert kept(replace(listing, samples=(listing.samples[0], odd)), found()) == ["a0"]
    assert r"caf\udce9" in caplog.text
