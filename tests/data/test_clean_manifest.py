"""What a careful person would leave out is left out, and the test split stays as it is."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.artifacts.health import BadFile, Health, Imbalance, LabelSuspect, NearDuplicates
from finetune_advisor.data.clean_manifest import clean_manifest
from finetune_advisor.data.sources import Listing, Sample
from finetune_advisor.data.sources.listing import Split

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


def test_unreadable_files_and_label_suspects_are_left_out_but_no_test_image_for_its_label() -> None:
    listing = listing_of(sample("a1", "train"), sample("a2", "train"), sample("a3", "test"), sample("a4", "test"))
    health = found(bad_files=(BadFile(path="a4", reason="cut"),), label_suspects=(suspect("a2"), suspect("a3")))
    assert kept(listing, health) == ["a1", "a3"]


def test_one_of_the_copies_stays() -> None:
    listing = listing_of(*(sample(f"a{number}") for number in range(6)))
    health = found(exact_duplicates=(("a0", "a1"), ("a4", "a5")), near_duplicates=(near("a1", "a2"),))
    assert kept(listing, health) == ["a0", "a3", "a4"]


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


def test_copies_that_contradict_each_other_are_all_left_out_of_training() -> None:
    listing = listing_of(sample("a0", "train"), sample("b1", "train"), sample("b2", "train"), sample("b3", "test"))
    health = found(exact_duplicates=(("a0", "b1"),), near_duplicates=(near("b1", "b3"),))
    assert kept(listing, health) == ["b2", "b3"]


def test_a_label_suspect_does_not_stand_for_its_copies() -> None:
    listing = listing_of(sample("a0"), sample("a1"))
    health = found(exact_duplicates=(("a0", "a1"),), label_suspects=(suspect("a0"),))
    assert kept(listing, health) == ["a1"]


def test_a_name_that_is_no_unicode_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    listing = listing_of(sample("a0"), sample("a1"))
    odd = replace(listing.samples[1], name="caf\udce9")
    assert kept(replace(listing, samples=(listing.samples[0], odd)), found()) == ["a0"]
    assert r"caf\udce9" in caplog.text
