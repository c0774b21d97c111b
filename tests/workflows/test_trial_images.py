"""Relatives stand on one side of a trial, every class on both, and a larger part holds the smaller ones."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.data.sources import Listing, open_source
from finetune_advisor.errors import DataError
from finetune_advisor.workflows.trial_images import TrialImages, trial_images


def divided(listing: Listing, profile) -> TrialImages:
    return trial_images(listing, profile, (), device="cpu", workers=0, progress=lambda *_: None)


class Faults:
    """What is read of a profile."""

    validation, seed, value_range = 0.2, 0, None

    class health:  # noqa: N801
        bad_files = ()


def in_groups(listing: Listing, size: int) -> Listing:
    samples = tuple(replace(s, group=f"{s.label}-{n // size}") for n, s in enumerate(listing.samples))
    return replace(listing, samples=samples)


def test_groups_and_copies_lie_on_one_side(image_folder) -> None:
    root = image_folder({"ants": 20, "bees": 20})
    for number in range(10):
        (root / "ants" / f"copy{number}.png").write_bytes((root / "ants" / f"{number:03d}.png").read_bytes())
    images = divided(in_groups(open_source(root), 3), Faults)
    learned, judged = ({s.group for s in side.samples} for side in (images.learn, images.judge))
    assert learned and judged and not learned & judged
    contents = [{s.path.read_bytes() for s in side.samples} for side in (images.learn, images.judge)]
    assert not contents[0] & contents[1]
    assert images.size == 50


def test_a_rare_class_keeps_what_it_needs_to_be_learned(image_folder) -> None:
    images = divided(open_source(image_folder({"ants": 30, "bees": 2})), Faults)
    assert sum(s.label == 1 for s in images.learn.samples) == 2
    assert {s.label for s in images.judge.samples} == {0}


def test_parts_are_nested_and_hold_every_class(image_folder) -> None:
    images = divided(open_source(image_folder({"ants": 40, "bees": 20})), Faults)
    parts = [images.part(share) for share in (0.2, 0.5, 1.0)]
    names = [{s.name for s in (*part.learn.samples, *part.judge.samples)} for part in parts]
    assert names[0] < names[1] < names[2]
    assert {s.label for s in parts[0].learn.samples} == {0, 1}


def test_the_manifest_has_the_judged_images_as_its_test_split(image_folder, tmp_path: Path) -> None:
    images = divided(open_source(image_folder({"ants": 12, "bees": 12})), Faults)
    images.save(tmp_path / "images.csv")
    listing = open_source(tmp_path / "images.csv", group="group")
    assert {s.path for s in listing.part("test")} == {s.path for s in images.judge.samples}
    assert {s.path for s in listing.part("train")} == {s.path for s in images.learn.samples}
    names = [
        row["path"]
        for row in csv.DictReader((tmp_path / "images.csv").read_text().splitlines())
        if row["split"] == "test"
    ]
    assert len(set(images.families(names).tolist())) == len(names), "no relatives here"


def test_too_few_to_hold_some_out_is_said(image_folder) -> None:
    with pytest.raises(DataError, match="too few, or too closely related"):
        divided(open_source(image_folder({"ants": 2, "bees": 2})), Faults)
