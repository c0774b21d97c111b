"""The rule for `augmentation`: which random changes leave the labels true, judged from the data, and how strong.

A change that is not in the shipped recipe has to be shown to cost nothing; the horizontal flip, which is, has to be
shown to cost something. A linear classifier that knows no more than the largest class shows neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_advisor.advice.choice import KEEP, SURE, Choice, Cite, Reason, cite, percent, say
from finetune_advisor.advice.rules.preprocessing import fit_cites, pads
from finetune_advisor.advice.sentences import blind_reason, gates_of, refit_change, transfer_change
from finetune_advisor.advice.table import BORDER
from finetune_advisor.records.health import GRAY_MODES
from finetune_advisor.records.profile import Cell, Profile, View
from finetune_advisor.techniques.augmentation import ColorJitter, HorizontalFlip, RandomCrop, Rotation, VerticalFlip

SMALL_FALL = 0.02
"""Loss of accuracy by mirroring that is allowed however exactly it is known: as much as a choice of folds makes."""

TINY_FALL = 0.01
"""The same for a change that the shipped recipes do not make, and one standard error instead of two: the data has to
speak for it."""

CROP_MIDDLE, CROP_SLOPE = 0.5, 0.3
"""Smallest part that a crop keeps at the border between little and plenty, as measured for the shipped recipes, and how
it grows with the amount: few images need stronger changes, many bring their own. The slope is set by hand."""

_Item = tuple[str, Any, Reason]
"""The kind of a technique; the technique, or None where it is left out; and why."""


def augmentation(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The whole list; each item carries its reason, and the line above them says what was left out."""
    items = [item for item in _weighed(profile) if item[1] is not None]
    yield Choice("augmentation", [technique.model_dump() for _, technique, _ in items] or None, _left_out(profile))
    for kind, _, reason in items:
        yield Choice(f"augmentation.{kind}", KEEP, reason)


def augments(profile: Profile) -> bool:
    """Whether an image looks different in every epoch."""
    return any(technique is not None for _, technique, _ in _weighed(profile))


def augmentation_cites(profile: Profile) -> tuple[Cite, ...]:
    """Everything that decided about the list."""
    return tuple(cited for _, _, reason in _weighed(profile) for cited in reason.cites)


def _weighed(profile: Profile) -> tuple[_Item, ...]:
    return tuple(rule(profile) for rule in (_horizontal, _vertical, _rotation, _crop, _color))


def _left_out(profile: Profile) -> Reason:
    """What is not done to the images, with the figure; what the same sentence explains stands together."""
    kinds: dict[str, list[str]] = {}
    reasons: dict[str, object] = {}
    for kind, technique, reason in _weighed(profile):
        if technique is None:
            kinds.setdefault(str(reason), []).append(kind)
            reasons.setdefault(f"why{list(kinds).index(str(reason))}", reason)
    if not kinds:
        return say("No change is left out.", *augmentation_cites(profile))
    listed = (f"{', '.join(names)} ({{why{number}}})" for number, names in enumerate(kinds.values()))
    return Reason(f"Left out: {'; '.join(listed)}.", reasons, augmentation_cites(profile))


def _horizontal(profile: Profile) -> _Item:
    effect = profile.view("horizontal_flip")
    if effect is None:
        reason = say(
            "Default of the recipe; mirrored images were not measured. Remove it where left and right differ.",
            cite(profile, "views.horizontal_flip"),
        )
        return "horizontal_flip", HorizontalFlip(), reason
    if not effect.beats_majority:
        return (
            "horizontal_flip",
            HorizontalFlip(),
            say("Default of the recipe; {blind}.", blind=blind_reason(effect, profile)),
        )
    change, both, gates = (
        transfer_change(profile, "horizontal_flip"),
        refit_change(profile, "horizontal_flip"),
        gates_of(effect, profile),
    )
    if change.difference >= -max(SURE * effect.transferred_std, SMALL_FALL):
        shown = (
            "no loss beyond two standard errors" if change.verdict != "lower" else f"under {100 * SMALL_FALL:g} points"
        )
        return (
            "horizontal_flip",
            HorizontalFlip(),
            say("Mirrored, held-out images score {change}: {shown}.", *gates, change=change, shown=shown),
        )
    if both.verdict == "higher":
        template = "Mirrored, held-out images score {change}, but trained on both, classifiers gain: {both}."
        return "horizontal_flip", HorizontalFlip(), say(template, *gates, change=change, both=both)
    return "horizontal_flip", None, say("mirrored {change}", *both.cites, *gates, change=change)


def _vertical(profile: Profile) -> _Item:
    return _to_be_shown(profile, "vertical_flip", VerticalFlip(), "upside down")


def _rotation(profile: Profile) -> _Item:
    """Quarter turns: where one leaves the labels true, two and three do, which are the same again."""
    turn = Rotation(degrees=180.0, step=90.0)
    kind, turned, reason = _to_be_shown(profile, "rotation_90", turn, "turned by 90 degrees")
    if turned is None:
        return kind, turned, reason
    flips = (_horizontal(profile), _vertical(profile))
    cites = tuple(cited for _, _, why in flips for cited in why.cites)
    # Half a turn is both mirror images: where only one of them leaves the labels true, it makes them wrong.
    if (flips[0][1] is None) != (flips[1][1] is None):
        template = "half a turn is both flips, and only one of them is made"
        return kind, None, say(template, *reason.cites, *cites)
    return kind, turned, say("{turned} Other angles were not measured.", *cites, turned=reason)


def _crop(profile: Profile) -> _Item:
    amount = profile.size.amount
    assert amount is not None, "the profile is not placed"
    if pads(profile):
        return "random_crop", None, say("cuts off what pad keeps", *fit_cites(profile))
    smallest = round(CROP_MIDDLE + CROP_SLOPE * (amount - BORDER), 2)
    template = (
        "Amount of data {amount:.2f}, {side} {border:g}: crops keep at least {smallest} of the image, {more} the "
        "recipe's {usual}."
    )
    reason = say(
        template,
        *fit_cites(profile),
        amount=cite(profile, "size.amount"),
        side="below the border of" if amount < BORDER else "at least",
        border=BORDER,
        smallest=percent(smallest),
        more="less than" if smallest < CROP_MIDDLE else ("more than" if smallest > CROP_MIDDLE else "as"),
        usual=percent(CROP_MIDDLE),
    )
    return "random_crop", RandomCrop(scale=(smallest, 1.0)), reason


def _color(profile: Profile) -> _Item:
    modes = profile.health.color_modes
    color_modes = cite(profile, "health.color_modes")
    if modes and set(modes) <= GRAY_MODES:
        reason = say("All images are gray: only brightness and contrast change.", color_modes)
        return "color_jitter", ColorJitter(saturation=0.0), reason
    kind, technique, reason = _to_be_shown(profile, "gray", ColorJitter(), "without color")
    return kind, technique, Reason(reason.template, reason.parts, (*reason.also, color_modes))


def _to_be_shown(profile: Profile, view: View, technique: Any, words: str) -> _Item:
    """A change that is made only where it costs no more than one standard error, neither as it is nor trained on."""
    effect = profile.view(view)
    kind = technique.kind
    if effect is None:
        return kind, None, say("not measured", cite(profile, f"views.{view}"))
    if not effect.beats_majority:
        return kind, None, blind_reason(effect, profile)
    change, both, gates = transfer_change(profile, view), refit_change(profile, view), gates_of(effect, profile)
    if change.difference < -max(effect.transferred_std, TINY_FALL):
        return kind, None, say(f"{words} {{change}}", *gates, change=change)
    if both.difference < -effect.std:
        return kind, None, say("trained on both {both}", *change.cites, *gates, both=both)
    template = (
        f"{words[:1].upper()}{words[1:]}, held-out images score {{change}}, trained on both {{both}}: {{allowed}}."
    )
    allowed = f"at most {100 * TINY_FALL:g} point or one standard error is lost"
    return kind, technique, say(template, *gates, change=change, both=both, allowed=allowed)
