"""The rule for `augmentation`: which random changes leave the labels true, judged from the data, and how strong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_advisor.advice.choice import KEEP, SURE, Choice, points
from finetune_advisor.advice.rules.preprocessing import pads
from finetune_advisor.artifacts.health import GRAY_MODES
from finetune_advisor.artifacts.profile import Cell, Profile, ViewEffect
from finetune_advisor.techniques.augmentation import ColorJitter, HorizontalFlip, RandomCrop, Rotation, VerticalFlip

SMALL_FALL = 0.02
"""Loss of accuracy that is allowed however exactly it is known: as much as a choice of folds makes."""

NO_UP_FALL = 0.01
"""The same where the question is whether images have an up, and one standard error instead of two: unlike a mirror
image, an image upside down or on its side is the exception, so the data has to speak for it."""

BEATS_GUESSING = 0.02
"""Accuracy over that of always naming the largest class, below which a probe cannot tell what a view does."""

CROP_MIDDLE, CROP_SLOPE = 0.5, 0.3
"""Smallest part that a crop keeps at the border between little and plenty, as measured for the shipped recipes, and how
it grows with the amount: few images need stronger changes, many bring their own. The slope is set by hand."""

_Item = tuple[Any, str]
"""A technique and why it is in the list."""


def augmentation(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The whole list; each item carries its reason, and the line above them says what was left out."""
    items, left_out = _weighed(profile)
    value = [technique.model_dump() for technique, _ in items] or None
    yield Choice("augmentation", value, " ".join(left_out) or f"{len(items)} changes that leave the labels true.")
    for technique, reason in items:
        yield Choice(f"augmentation.{technique.kind}", KEEP, reason)


def augments(profile: Profile) -> bool:
    """Whether an image looks different in every epoch."""
    return bool(_weighed(profile)[0])


def _weighed(profile: Profile) -> tuple[list[_Item], list[str]]:
    """What is done to the images, and why the rest is not."""
    items: list[_Item] = []
    left_out: list[str] = []
    for rule in (_horizontal, _vertical, _rotation, _crop, _color):
        technique, reason = rule(profile)
        if technique is None:
            left_out.append(reason)
        else:
            items.append((technique, reason))
    return items, left_out


def _horizontal(profile: Profile) -> _Item:
    effect = profile.view("horizontal_flip")
    if effect is None:
        reason = (
            f"Photographs stay true when mirrored. Whether these {len(profile.classes)} classes do was not measured: "
            "take this out for text, digits and whatever has a left and a right."
        )
        return HorizontalFlip(), reason
    seen = f"Mirrored left to right, held-out images score {_change(effect)}"
    if _fall(effect) <= _allowed(effect, SMALL_FALL):
        return HorizontalFlip(), f"{seen}: the labels stay true."
    if effect.refitted - effect.accuracy > SURE * effect.std:
        gain = points(effect.refitted - effect.accuracy)
        return HorizontalFlip(), f"{seen}, but mirrored copies in training bring {gain}."
    return None, f"No horizontal_flip: {_lower(seen)}; left and right differ."


def _vertical(profile: Profile) -> _Item:
    effect = profile.view("vertical_flip")
    if effect is None:
        return None, "No vertical_flip: images upside down were not measured."
    seen = f"upside down, held-out images score {_change(effect)}"
    if cannot_tell := _guesses(effect, profile):
        return None, f"No vertical_flip: {cannot_tell}."
    if _is_unnoticed(effect):
        return VerticalFlip(), f"{_upper(seen)}: the images have no up."
    return None, f"No vertical_flip: {seen}; the images have an up."


def _rotation(profile: Profile) -> _Item:
    """Quarter turns: where one leaves the labels true, two and three do, which are the same again."""
    effect = profile.view("rotation_90")
    if effect is None:
        return None, "No rotation: turned images were not measured."
    seen = f"turned by 90 degrees, held-out images score {_change(effect)}"
    if cannot_tell := _guesses(effect, profile):
        return None, f"No rotation: {cannot_tell}."
    if not _is_unnoticed(effect):
        return None, f"No rotation: {seen}; the images have a direction."
    if not _bears_half_a_turn(profile):
        reason = "but half a turn is both mirror images, and only one of them leaves the labels true."
        return None, f"No rotation: {seen}, {reason}"
    reason = (
        f"{_upper(seen)}: no side is up. 180 and 270 degrees are the same turn again; angles between were not "
        "measured, and may mean something (a + turned by 45 degrees is an x)."
    )
    return Rotation(degrees=180.0, step=90.0), reason


def _bears_half_a_turn(profile: Profile) -> bool:
    """What the flips say of it: one that leaves the labels true after one that does not makes them wrong."""
    return (_horizontal(profile)[0] is None) == (_vertical(profile)[0] is None)


def _crop(profile: Profile) -> _Item:
    amount = profile.size.amount
    assert amount is not None, "the profile is not placed"
    if pads(profile):
        return None, f"No random_crop: it would cut off what pad keeps ({profile.size_px} pixels show the whole image)."
    smallest = round(CROP_MIDDLE + CROP_SLOPE * (amount - 0.5), 2)
    reason = (
        f"At an amount of {amount:.2f} crops keep at least {100 * smallest:.0f} % of the image: less data, stronger."
    )
    return RandomCrop(scale=(smallest, 1.0)), reason


def _color(profile: Profile) -> _Item:
    effect, modes = profile.view("gray"), profile.health.color_modes
    if modes and set(modes) <= GRAY_MODES:
        reason = f"All {sum(modes.values()):,} images are gray: only brightness and contrast change."
        return ColorJitter(saturation=0.0), reason
    if effect is None:
        return None, f"No color_jitter: what color means to the {len(profile.classes)} classes was not measured."
    seen = f"without color, held-out images score {_change(effect)}"
    if _fall(effect) <= _allowed(effect, SMALL_FALL):
        return ColorJitter(), f"{_upper(seen)}: color does not carry the class."
    return None, f"No color_jitter: {seen}; color carries the class."


def _fall(effect: ViewEffect) -> float:
    return effect.accuracy - effect.transferred


def _allowed(effect: ViewEffect, least: float) -> float:
    return max(SURE * effect.transferred_std, least)


def _is_unnoticed(effect: ViewEffect) -> bool:
    """Whether a view that has to speak for itself is taken for the usual one, and spoils no training."""
    harmless = effect.refitted - effect.accuracy >= -effect.std
    return _fall(effect) <= max(effect.transferred_std, NO_UP_FALL) and harmless


def _guesses(effect: ViewEffect, profile: Profile) -> str | None:
    """In words, that a probe cannot tell what a view does; None where it can."""
    over = effect.accuracy - _guess(profile)
    return f"a probe is only {points(over)} above guessing and cannot tell" if over < BEATS_GUESSING else None


def _change(effect: ViewEffect) -> str:
    return f"{points(-_fall(effect))} (standard error {100 * effect.transferred_std:.1f})"


def _guess(profile: Profile) -> float:
    """Accuracy of always naming the largest class of the trainable images."""
    counts: dict[str, int] = {}
    for split in ("train", "val"):
        if split in profile.splits:
            for name, count in profile.splits[split].per_class.items():
                counts[name] = counts.get(name, 0) + count
    return max(counts.values()) / sum(counts.values()) if counts else 1 / len(profile.classes)


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
