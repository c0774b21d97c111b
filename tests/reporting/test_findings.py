"""What matters is said, the most harmful first, with a few names made safe."""

from __future__ import annotations

from finetune_advisor.artifacts.health import FoldLeak, ValueScale
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.reporting.findings import findings, split_leak


def test_copies_across_splits_are_said_apart_and_with_their_files(full: Profile) -> None:
    leak = split_leak(full.health)
    assert leak is not None and leak.harm == "bad"
    assert "1 set of copies in more than one split" in leak.text
    assert leak.examples == ("train/banded/0.jpg = train/dotted/0.jpg",)


def test_near_copies_across_splits_are_not_called_the_same(full: Profile) -> None:
    leak = split_leak(full.health.model_copy(update={"exact_duplicates": ()}))
    assert leak is not None and "1 set of near-copies in more than one split: if they show the same" in leak.text
    assert leak.examples == ("train/banded/0.jpg ≈ train/dotted/0.jpg",)


def test_sound_data_has_no_findings(bare: Profile) -> None:
    assert split_leak(bare.health) is None
    assert findings(bare) == ()


def test_the_most_harmful_comes_first(full: Profile) -> None:
    harms = [finding.harm for finding in findings(full)]
    assert harms == sorted(harms, key=("bad", "warn", "note").index)
    assert set(harms) == {"bad", "warn", "note"}


def test_every_kind_is_said_with_its_number(full: Profile) -> None:
    text = "\n".join(finding.text for finding in findings(full))
    for words in (
        "7 % of the images have a neighbor nearer",
        "in more than one class",
        "1 unreadable file left out",
        "3 sets of identical files, 4 too many.",
        "1 set of near-copies",
        "15 labels may be wrong",
        "1 image far from all others",
        "2 images of unusual size",
        "banded has 4 times the images of dotted",
        "1 file of other kinds",
        "11 images with relatives: accuracy 0.880 kept together, 0.920 if not",
    ):
        assert words in text, words


def test_suspects_are_named_with_what_they_look_like(full: Profile) -> None:
    (suspects,) = [finding for finding in findings(full) if "may be wrong" in finding.text]
    assert len(suspects.examples) == 3 and suspects.total == 15
    assert suspects.examples[0].endswith(": banded, or dotted?")


def test_relatives_that_change_nothing_are_only_a_note(bare: Profile) -> None:
    leak = FoldLeak(families=3, images_in_families=6, accuracy_alone=0.901, accuracy_together=0.9)
    (finding,) = findings(bare.model_copy(update={"health": bare.health.model_copy(update={"leak": leak})}))
    assert finding.harm == "note"


def test_copies_that_an_automatic_split_keeps_together_are_said_to_be(full: Profile) -> None:
    health = full.health.model_copy(update={"duplicates_across_splits": ()})
    text = "\n".join(finding.text for finding in findings(full.model_copy(update={"health": health})))
    assert "1 set of near-copies; kept on one side of the split." in text


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
