"""What the health of the data means for its user, in a line each: the same words in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from finetune_advisor.records.health import FoldLeak, Health, ValueScale
from finetune_advisor.records.profile import Profile
from finetune_advisor.text import counted, quoted, shown

UNEVEN = 3.0
"""Largest over smallest class from which imbalance is worth a line."""

MOST_EXAMPLES = 3
"""Files or groups that a finding names; the page shows more of them, profile.json has all."""

NAME = 26
"""Columns of a name among others on a line: class folder and file of most data sets."""

WORTH_SAYING = 0.01
"""Difference of accuracy between two kinds of folds that is worth a line."""

GROUPS_NAME = "groups.csv"
"""Beside the report: every image with its split and group, no group in two splits."""

CLASS = 18
"""Columns of a class among other words."""

NOTE = 400
"""Columns of a sentence about how the data was read."""

REASON = 40
"""Columns of a reason in brackets."""

Harm = Literal["bad", "warn", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, and some of the files it is about."""

    harm: Harm
    """`bad` makes scores or labels wrong, `warn` may, `note` is only worth knowing."""
    text: str
    examples: tuple[str, ...] = ()
    """One entry a file or a group of files, worst first, made safe to show."""
    total: int = 0
    """How many there are of what the examples are taken from."""


def split_leak(profile: Profile, folder: Path | None = None) -> Finding | None:
    """What comes before any score: the same pictures in training and in what scores are made on.

    Args:
        profile: its health is asked.
        folder: where the report lies; None leaves out where the clean split is.
    """
    leak = profile.health.split_leak
    if leak is None:
        return None
    other, judged = leak.splits
    counts = {
        "identical files": leak.identical,
        "near-duplicates": leak.groups - leak.identical - leak.own,
        f"the same {shown(profile.group or 'group', NAME)}": leak.own,
    }
    kind = " and ".join(name for name, count in counts.items() if count)
    total = f" of {profile.splits[judged].images:,}" if judged in profile.splits else ""
    score = {"val": "validation", "train": "training"}.get(judged, judged)
    text = (
        f"{counted(leak.groups, 'group')} of {kind} {'spans' if leak.groups == 1 else 'span'} {other} and {judged} "
        f"({leak.images:,}{total} {judged} images). "
        f"{'The' if leak.identical else 'If they show the same object, the'} {score} score is too high."
    )
    if folder is not None:
        clean = quoted(folder / GROUPS_NAME, "GROUPS_CSV")
        text += f" A clean split is in {shown(str(folder / GROUPS_NAME), 60)}: finetune-advisor analyze {clean}"
    sign = " = " if leak.identical == leak.groups else " ≈ "
    return Finding("bad", text, (sign.join(shown(name, NAME) for name in leak.example),), leak.groups)


def findings(profile: Profile) -> tuple[Finding, ...]:
    """Everything else that matters, most harmful first; empty where the files are sound."""
    health = profile.health
    found = [*_folds(health.leak), *_copies_across_classes(health), *_unreadable(health), *_copies(health)]
    found += [*_too_small(profile), *_suspects(health), *_uneven(health), *_blank(health), *_tones(health)]
    found += [*_outliers(health), *_odd(health), *_ignored(health), *_scale(health.values)]
    found += [Finding("warn", shown(note, NOTE)) for note in health.notes]
    return tuple(sorted(found, key=lambda finding: get_args(Harm).index(finding.harm)))


def wants_review(health: Health) -> bool:
    """Whether review.csv names any image."""
    wanted = (health.label_suspects, health.duplicates_across_classes, health.blank_images)
    return any((*wanted, health.outliers, health.odd_images))


def _folds(leak: FoldLeak | None) -> Iterator[Finding]:
    if leak is None:
        return
    if leak.suspicious:
        yield Finding("bad", f"The held-out folds may promise too much: {shown(leak.sign or 'no sign given', 200)}")
    if leak.accuracy_alone is None or leak.accuracy_together is None:
        return
    if leak.accuracy_alone - leak.accuracy_together >= WORTH_SAYING:
        yield Finding(
            "note",
            f"Accuracy {leak.accuracy_together:.3f} on folds that keep near-duplicates and groups together, "
            f"{leak.accuracy_alone:.3f} on folds that do not.",
        )


def _copies_across_classes(health: Health) -> Iterator[Finding]:
    if groups := health.duplicates_across_classes:
        text = f"{counted(len(groups), 'group')} of copies in more than one class: a label of each is wrong."
        yield Finding("bad", text, _groups(groups), len(groups))


def _unreadable(health: Health) -> Iterator[Finding]:
    if bad := health.bad_files:
        examples = tuple(f"{shown(file.path, NAME)} ({shown(file.reason, REASON)})" for file in bad[:MOST_EXAMPLES])
        yield Finding("warn", f"{counted(len(bad), 'unreadable file')} left out.", examples, len(bad))


def _copies(health: Health) -> Iterator[Finding]:
    """Copies that the message about the split does not count: those within one split do no harm to a score."""
    told = {name for group in health.duplicates_across_splits for name in group}
    where = " within one split" if told else "; each group is kept in one split"
    if groups := [group for group in health.exact_duplicates if not told.issuperset(group)]:
        text = f"{counted(len(groups), 'group')} of identical files{where}."
        yield Finding("note", text, _groups(groups), len(groups))
    if near := [group.images for group in health.near_duplicates if not told.issuperset(group.images)]:
        text = f"{counted(len(near), 'group')} of near-duplicates{where}."
        yield Finding("note", text, _groups(near, " ≈ "), len(near))


def _too_small(profile: Profile) -> Iterator[Finding]:
    if unchecked := profile.health.near_duplicates_unchecked:
        what = "The images carry" if unchecked >= profile.images else f"{counted(unchecked, 'image')} with"
        yield Finding("note", f"{what} less than about 32 x 32 pixels of detail: too small to tell near-duplicates.")


def _blank(health: Health) -> Iterator[Finding]:
    if blank := health.blank_images:
        examples = tuple(f"{shown(one.path, NAME)} ({shown(one.reason, REASON)})" for one in blank[:MOST_EXAMPLES])
        text = f"{counted(len(blank), 'blank image')}: black, white or one color all over."
        yield Finding("warn", text, examples, len(blank))


def _tones(health: Health) -> Iterator[Finding]:
    tones = health.tones
    if tones is None:
        return
    if tones.mostly_dark:
        text = (
            f"{tones.dark:,} of {tones.images:,} images are very dark, hardly a spot above 50 of 255: "
            "is the scale of the pixel values right?"
        )
        yield Finding("warn", text)
    if tones.mostly_few_levels:
        text = (
            f"{tones.few_levels} of {tones.levels_images} images looked at have at most 16 gray levels: "
            "drawings, or fine differences were lost."
        )
        yield Finding("warn" if tones.mostly_dark else "note", text)


def _suspects(health: Health) -> Iterator[Finding]:
    if suspects := health.label_suspects:
        examples = tuple(
            f"{shown(one.path, NAME)}: {shown(one.label, CLASS)}, or {shown(one.suggestion, CLASS)}?"
            for one in suspects[:MOST_EXAMPLES]
        )
        yield Finding("warn", f"{counted(len(suspects), 'label')} may be wrong.", examples, len(suspects))


def _outliers(health: Health) -> Iterator[Finding]:
    if outliers := health.outliers:
        examples = tuple(
            f"{shown(one.path, NAME)} ({one.distance:.1f} times as far)" for one in outliers[:MOST_EXAMPLES]
        )
        text = f"{counted(len(outliers), 'image')} far from all others."
        yield Finding("note", text, examples, len(outliers))


def _odd(health: Health) -> Iterator[Finding]:
    if odd := health.odd_images:
        examples = tuple(f"{shown(one.path, NAME)} ({shown(one.reason, REASON)})" for one in odd[:MOST_EXAMPLES])
        text = f"{counted(len(odd), 'image')} of unusual size, shape or color mode."
        yield Finding("note", text, examples, len(odd))


def _scale(values: ValueScale | None) -> Iterator[Finding]:
    if values is None:
        return
    whose = "All" if values.images == values.of else f"{values.images:,} of {values.of:,}"
    low, high = values.range
    text = f"{whose} training images have over 8 bits per channel: {low:g} is shown black, {high:g} white."
    yield Finding("note", text)
    if len(values.types) > 1:
        types = ", ".join(f"{name} {images:,}" for name, images in values.types.items())
        yield Finding("warn", f"Their values are of several types, which one scale may not fit: {types}.")


def _uneven(health: Health) -> Iterator[Finding]:
    balance = health.imbalance
    if balance.ratio >= UNEVEN:
        largest, smallest = shown(balance.largest, CLASS), shown(balance.smallest, CLASS)
        yield Finding("warn", f"{largest} has {balance.ratio:.0f} times the images of {smallest}.")


def _ignored(health: Health) -> Iterator[Finding]:
    if ignored := health.ignored_files:
        examples = tuple(shown(name, NAME) for name in ignored[:MOST_EXAMPLES])
        text = f"{counted(len(ignored), 'file')} of other kinds than images, ignored."
        yield Finding("note", text, examples, len(ignored))


def _groups(groups: Sequence[Sequence[str]], sign: str = " = ") -> tuple[str, ...]:
    return tuple(sign.join(shown(name, NAME) for name in group[:2]) for group in groups[:MOST_EXAMPLES])
