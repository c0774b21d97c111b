"""Each group of copies is shown once, the worst first; what is left out is counted."""

from __future__ import annotations

from pathlib import Path

from finetune_advisor.images.sources import Listing, Sample
from finetune_advisor.records.health import Health, NearDuplicates
from finetune_advisor.records.profile import Profile
from finetune_advisor.reporting.gallery import (
    MOST_CLASSES,
    MOST_GROUPS,
    MOST_IN_GROUP,
    OF_EACH_CLASS,
    class_strips,
    gallery,
)


def copies(full: Profile, **groups: object) -> Health:
    empty: dict[str, object] = {
        "exact_duplicates": (),
        "near_duplicates": (),
        "duplicates_across_splits": (),
        "split_leak": None,
        "duplicates_across_classes": (),
    }
    return full.health.model_copy(update=empty | groups)


def test_a_group_that_crosses_both_borders_is_shown_once(full: Profile) -> None:
    group = ("train/a/1.jpg", "test/b/1.jpg")
    health = copies(
        full,
        exact_duplicates=(("train/c/1.jpg", "train/c/2.jpg"), group),
        duplicates_across_splits=(group,),
        duplicates_across_classes=(group,),
    )
    first, second = gallery(health).copies
    assert (first.kind, first.crossing) == ("identical files", ("splits", "classes"))
    assert (second.kind, second.crossing) == ("identical files", ())


def test_a_group_joined_from_exact_and_near_copies_stands_for_its_parts(full: Profile) -> None:
    health = copies(
        full,
        exact_duplicates=(("train/a/1.jpg", "train/a/2.jpg"),),
        near_duplicates=(NearDuplicates(images=("train/a/1.jpg", "test/a/3.jpg"), correlation=0.95),),
        duplicates_across_splits=(("train/a/1.jpg", "train/a/2.jpg", "test/a/3.jpg"),),
    )
    (only,) = gallery(health).copies
    assert len(only.pictures) == 3 and only.crossing == ("splits",)


def test_near_copies_say_how_near(full: Profile) -> None:
    health = copies(full, near_duplicates=(NearDuplicates(images=("a", "b"), correlation=0.954),))
    assert gallery(health).copies[0].kind == "near-duplicates, correlation 0.95"


def test_many_groups_and_large_groups_are_cut_and_counted(full: Profile) -> None:
    large = tuple(f"big/{n}" for n in range(10))
    groups = (large, *((f"{n}/a", f"{n}/b") for n in range(30)))
    shown = gallery(copies(full, exact_duplicates=groups))
    assert (len(shown.copies), shown.more_copies) == (MOST_GROUPS, 31 - MOST_GROUPS)
    assert (len(shown.copies[0].pictures), shown.copies[0].more) == (MOST_IN_GROUP, 10 - MOST_IN_GROUP)


def test_suspects_say_both_labels_with_their_probabilities(full: Profile) -> None:
    shown = gallery(full.health)
    assert (len(shown.suspects), shown.more_suspects) == (12, 3)
    label, suggestion = (note.replace("\N{NO-BREAK SPACE}", " ") for note in shown.suspects[0].notes)
    assert (label, suggestion) == ("labeled banded (2 %)", "perhaps dotted (95 %)")


def test_very_many_groups_take_no_time(full: Profile) -> None:
    groups = tuple((f"{n}/a", f"{n}/b") for n in range(50_000))
    shown = gallery(copies(full, exact_duplicates=groups, duplicates_across_classes=groups))
    assert shown.more_copies == 50_000 - MOST_GROUPS


def listing_of(counts: dict[str, int], split: str) -> Listing:
    samples = [
        Sample("/data", f"{split}/{name}/{number:03}.jpg", label, "test" if split == "test" else None)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]
    return Listing(Path("/data"), "/data", tuple(counts), tuple(samples), ())


def test_five_readable_images_stand_for_each_class() -> None:
    train, test = listing_of({"ants": 9, "bees": 3, "wasps": 0}, "train"), listing_of({"ants": 4, "wasps": 2}, "test")
    moved = [Sample("/data", s.name, {"ants": 0, "wasps": 2}[s.name.split("/")[1]], s.split) for s in test.samples]
    both = Listing(Path("/data"), "/data", train.classes, (*train.samples, *moved), ())
    ants, bees, wasps = class_strips(both, bad_files=["train/ants/000.jpg", "train/bees/001.jpg"])
    assert [(each.name, each.images) for each in (ants, bees, wasps)] == [("ants", 12), ("bees", 2), ("wasps", 2)]
    assert [one.key[-7:-4] for one in ants.pictures] == ["001", "003", "005", "006", "008"], "none of the test images"
    assert [one.name for one in bees.pictures] == ["bees: train/bees/000.jpg", "bees: train/bees/002.jpg"]
    assert len(wasps.pictures) == 2, "test images where there are no others"


def test_of_many_classes_a_sample_is_shown() -> None:
    strips = class_strips(listing_of({f"c{number:03}": 6 for number in range(300)}, "train"))
    assert len(strips) == MOST_CLASSES and {len(strip.pictures) for strip in strips} == {OF_EACH_CLASS}
    assert (strips[0].name, strips[-1].name) == ("c000", "c299")


def test_the_two_images_of_a_leak_are_shown_with_their_splits(full: Profile) -> None:
    shown = gallery(full.health)
    assert [one.notes for one in shown.leak] == [("train",), ("test",)]
    assert {one.key for one in shown.leak} == set(full.health.duplicates_across_splits[0]) <= set(shown.keys())
