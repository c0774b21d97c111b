"""What matters is said, the most harmful first, with a few names made safe."""

from __future__ import annotations

from pathlib import Path

from finetune_advisor.records.health import FoldLeak, ValueScale
from finetune_advisor.records.profile import Profile
from finetune_advisor.reporting.findings import findings, split_leak


def leaking(full: Profile, **changes: object) -> Profile:
    leak = full.health.split_leak
    assert leak is not None
    return full.model_copy(
        update={"health": full.health.model_copy(update={"split_leak": leak.model_copy(update=changes)})}
    )


def test_a_leak_says_what_it_spans_how_much_of_the_test_it_is_and_the_way_out(full: Profile) -> None:
    profile = leaking(full, groups=12, identical=0, images=9)
    leak = split_leak(profile, Path("analysis"))
    assert leak is not None and leak.harm == "bad"
    assert leak.text == (
        "12 groups of near-duplicates span train and test (9 of 15 test images). If they show the same object, the "
        "test score is too high. A clean split is in analysis/groups.csv: finetune-advisor analyze analysis/groups.csv"
    )
    assert len(leak.examples) == 1 and " ≈ " in leak.examples[0]


def test_identical_files_across_splits_leak_without_an_if(full: Profile) -> None:
    leak = split_leak(full)
    assert leak is not None
    assert (
        leak.text
        == "1 group of identical files spans train and test (1 of 15 test images). The test score is too high."
    )
    mixed = split_leak(leaking(full, groups=3, identical=1, splits=("train", "val")))
    assert mixed is not None and "identical files and near-duplicates span train and val" in mixed.text
    assert "The validation score is too high." in mixed.text
    own = split_leak(leaking(full, groups=3, identical=0, own=2).model_copy(update={"group": "patient"}))
    assert own is not None and own.text.startswith("3 groups of near-duplicates and the same patient span")


def test_a_leak_is_said_once(full: Profile) -> None:
    group = full.health.duplicates_across_splits[0]
    health = full.health.model_copy(update={"exact_duplicates": (group,), "near_duplicates": ()})
    text = "\n".join(finding.text for finding in findings(full.model_copy(update={"health": health})))
    assert "identical files" not in text and "near-duplicates within" not in text


def test_images_too_small_to_tell_are_said_once_and_quietly(full: Profile, bare: Profile) -> None:
    (some,) = [finding for finding in findings(full) if "too small to tell" in finding.text]
    assert some.harm == "note" and some.text.startswith("3 images with less than about 32 x 32 pixels")
    health = bare.health.model_copy(update={"near_duplicates_unchecked": bare.images})
    (all_of_them,) = findings(bare.model_copy(update={"health": health}))
    assert all_of_them.text.startswith("The images carry less than about 32 x 32 pixels of detail: too small to tell")


def test_sound_data_has_no_findings(bare: Profile) -> None:
    assert split_leak(bare) is None
    assert findings(bare) == ()


def test_the_most_harmful_comes_first(full: Profile) -> None:
    harms = [finding.harm for finding in findings(full)]
    assert harms == sorted(harms, key=("bad", "warn", "note").index)
    assert set(harms) == {"bad", "warn", "note"}


def test_every_kind_is_said_with_its_number(full: Profile) -> None:
    text = "\n".join(finding.text for finding in findings(full))
    for words in (
        "7 % of the images have a neighbor nearer",
        "1 unreadable file left out",
        "2 groups of identical files within one split.",
        "1 group of near-duplicates within one split.",
        "1 group of copies in more than one class",
        "15 labels may be wrong",
        "1 image far from all others",
        "2 images of unusual size",
        "banded has 4 times the images of dotted",
        "1 file of other kinds",
        "Accuracy 0.880 on folds that keep near-duplicates and groups together, 0.920 on folds that do not.",
    ):
        assert words in text, words


def test_suspects_are_named_with_what_they_look_like(full: Profile) -> None:
    (suspects,) = [finding for finding in findings(full) if "may be wrong" in finding.text]
    assert len(suspects.examples) == 3 and suspects.total == 15
    assert suspects.examples[0].endswith(": banded, or dotted?")


def test_folds_that_differ_in_nothing_are_not_mentioned(bare: Profile) -> None:
    leak = FoldLeak(families=3, images_in_families=6, accuracy_alone=0.901, accuracy_together=0.9)
    assert findings(bare.model_copy(update={"health": bare.health.model_copy(update={"leak": leak})})) == ()


def test_copies_within_one_split_are_a_quiet_line(full: Profile) -> None:
    health = full.health.model_copy(update={"duplicates_across_splits": (), "split_leak": None})
    found = {finding.text: finding.harm for finding in findings(full.model_copy(update={"health": health}))}
    assert found["1 group of near-duplicates; each group is kept in one split."] == "note"
    assert found["3 groups of identical files; each group is kept in one split."] == "note"


def test_notes_on_how_the_data_was_read_are_findings(bare: Profile) -> None:
    note = "2 rows without a label (lines 3, 5) left out of labels.csv."
    noted = bare.model_copy(update={"health": bare.health.model_copy(update={"notes": (note,)})})
    assert [(finding.harm, finding.text) for finding in findings(noted)] == [("warn", note)]


def test_hostile_names_stay_on_their_line(hostile: Profile) -> None:
    for finding in findings(hostile):
        assert all(text.isprintable() for text in (finding.text, *finding.examples))


def test_the_scale_of_images_with_more_than_8_bits_is_said(bare: Profile) -> None:
    values = ValueScale(
        range=(0, 4095), images=9, of=9, measured=9, types={"uint16": 8}, lowest=0, highest=4095, clipped=0
    )
    (finding,) = findings(bare.model_copy(update={"health": bare.health.model_copy(update={"values": values})}))
    assert finding.harm == "note"
    assert finding.text == "All training images have over 8 bits per channel: 0 is shown black, 4095 white."
    mixed = values.model_copy(update={"types": {"uint16": 8, "float32": 1}, "of": 20})
    first, second = findings(bare.model_copy(update={"health": bare.health.model_copy(update={"values": mixed})}))
    assert (first.harm, first.text.endswith("one scale may not fit: uint16 8, float32 1.")) == ("warn", True)
    assert second.text.startswith("9 of 20 training images")
