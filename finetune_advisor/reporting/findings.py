"""What the health of the data means for its user, in a line each: the same words in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from finetune_advisor.artifacts.health import FoldLeak, Health, ValueScale
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.data.wording import counted
from finetune_advisor.reporting.names import shown

UNEVEN = 3.0
"""Largest over smallest class from which imbalance is worth a line."""

MOST_EXAMPLES = 3
"""Files or groups that a finding names; the page shows more of them, profile.json has all."""

NAME = 26
"""Columns of a name among others on a line: class folder and file of most data sets."""

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


def split_leak(health: Health) -> Finding | None:
    """What comes before any score: the same pictures in training and in what scores are made on."""
    groups = health.duplicates_across_splits
    if not groups:
        return None
    copies = [frozenset(group) for group in health.exact_duplicates]
    exact = sum(any(set(group) <= same for same in copies) for group in groups)
    if not exact:
        text = f"{_sets(groups)} of near-copies in more than one split: if they show the same, scores promise too much."
        return Finding("bad", text, _groups(groups, " ≈ "), len(groups))
    what = "copies" if exact == len(groups) else "copies or near-copies"
    text = f"{_sets(groups)} of {what} in more than one split: scores promise too much."
    return Finding("bad", text, _groups(groups), len(groups))


def findings(profile: Profile) -> tuple[Finding, ...]:
    """Everything else that matters, most harmful first; empty where the files are sound."""
    health = profile.health
    found = [*_leak(health.leak), *_copies_across_classes(health), *_unreadable(health), *_copies(health)]
    found += [*_suspects(health), *_uneven(health), *_blank(health), *_tones(health)]
    found += [*_outliers(health), *_odd(health), *_ignored(health), *_scale(health.values)]
    found += [Finding("warn", shown(note, NOTE)) for note in health.notes]
    return tuple(sorted(found, key=lambda finding: get_args(Harm).index(finding.harm)))


def wants_review(health: Health) -> bool:
    """Whether review.csv names any image."""
    wanted = (health.label_suspects, health.duplicates_across_classes, health.blank_images)
    return any((*wanted, health.outliers, health.odd_images))


def _leak(leak: FoldLeak | None) -> Iterator[Finding]:
    if leak is None:
        return
    if leak.suspicious:
        yield Finding("bad", f"The held-out folds may promise too much: {shown(leak.sign or 'no sign given', 200)}")
    if leak.accuracy_alone is not None and leak.accuracy_together is not None and leak.families:
        gain = 100 * (leak.accuracy_alone - leak.accuracy_together)
        yield Finding(
            "warn" if gain >= 1 else "note",
            f"{leak.images_in_families:,} images with relatives: accuracy {leak.accuracy_together:.3f} kept together, "
            f"{leak.accuracy_alone:.3f} if not.",
        )


def _copies_across_classes(health: Health) -> Iterator[Finding]:
    if groups := health.duplicates_across_classes:
        text = f"{_sets(groups)} of copies in more than one class: a label of each is wrong."
        yield Finding("bad", text, _groups(groups), len(groups))


def _unreadable(health: Health) -> Iterator[Finding]:
    if bad := health.bad_files:
        examples = tuple(f"{shown(file.path, NAME)} ({shown(file.reason, REASON)})" for file in bad[:MOST_EXAMPLES])
        yield Finding("warn", f"{counted(len(bad), 'unreadable file')} left out.", examples, len(bad))


def _copies(health: Health) -> Iterator[Finding]:
    kept = "." if health.duplicates_across_splits else "; kept on one side of the split."
    if groups := health.exact_duplicates:
        extra = sum(map(len, groups)) - len(groups)
        text = f"{_sets(groups)} of identical files, {extra:,} too many{kept}"
        yield Finding("warn", text, _groups(groups), len(groups))
    if health.near_duplicates:
        near = [group.images for group in health.near_duplicates]
        yield Finding("warn", f"{_sets(near)} of near-copies{kept}", _groups(near), len(near))


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


def _sets(groups: Sequence[object]) -> str:
    return "1 set" if len(groups) == 1 else f"{len(groups):,} sets"


def _groups(groups: Sequence[Sequence[str]], sign: str = " = ") -> tuple[str, ...]:
    return tuple(sign.join(shown(name, NAME) for name in group[:2]) for group in groups[:MOST_EXAMPLES])
