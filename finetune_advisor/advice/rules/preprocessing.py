"""Rules for `preprocessing`: the size of the network's input, and whether to crop or pad."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.advice.choice import KEEP, Choice, Cite, Reason, cite, percent, say
from finetune_advisor.advice.sentences import blind_reason, gates_of, refit_change
from finetune_advisor.advice.table import TRAINED
from finetune_advisor.records.health import ENLARGED, OFF_SQUARE, SMALL_PX
from finetune_advisor.records.profile import Cell, Profile

LEAST_KEPT = 0.5
"""Share of the median image that a crop has to show where padding was not tried."""


def size(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """The measured size, or a smaller one where layers are trained and nothing is lost by it."""
    if cell not in TRAINED or profile.size_px <= SMALL_PX:
        yield Choice("preprocessing.size", profile.size_px)
        return
    small, reason = _smaller(profile)
    yield Choice("preprocessing.size", SMALL_PX if small else profile.size_px, reason)


def _smaller(profile: Profile) -> tuple[bool, Reason]:
    """Whether images are trained on at the size of the view `small`, and why."""
    effect, sizes = profile.view("small"), profile.health.sizes
    usual = cite(profile, "size_px")
    as_measured = say("{usual} pixels, as in the analysis", usual=usual)
    if effect is None:
        return False, say("{kept}; no smaller size was tried.", cite(profile, "views.small"), kept=as_measured)
    if not effect.beats_majority:
        return False, say("{kept}; {blind}.", kept=as_measured, blind=blind_reason(effect, profile))
    gates, change = gates_of(effect, profile), refit_change(profile, "small")
    if change.difference < -effect.std:
        template = "At {small} pixels a linear classifier scores {change}: more than one standard error is lost."
        return False, say(template, usual, *gates, small=SMALL_PX, change=change)
    measured = (usual, *gates, *change.cites)
    if sizes is None:
        template = "{kept}; the size of the images was not measured."
        return False, say(template, *measured, cite(profile, "health.sizes"), kept=as_measured)
    side = cite(profile, "health.sizes.shorter_side.1")
    if not sizes.small:
        template = (
            "Half of the images have a shorter side of {side:.0f} pixels or more, above {most:.0f}: a smaller size "
            "could lose detail."
        )
        return False, say(template, *measured, side=side, most=ENLARGED * SMALL_PX)
    template = (
        "At {small} pixels a linear classifier scores {change}; half of the images have a shorter side of at most "
        "{side:.0f} pixels."
    )
    return True, say(template, usual, *gates, small=SMALL_PX, change=change, side=side)


def value_range(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The scale that was measured, where images have more than 8 bits per channel."""
    values = profile.health.values
    if values is None:
        return
    figures = {name: cite(profile, f"health.values.{name}") for name in ("images", "of", "lowest", "highest")}
    template = (
        "{images:,} of {of:,} training images have over 8 bits per channel. One scale for all: values run from "
        "{lowest:g} to {highest:g}"
    )
    if values.clipped:
        figures["clipped"] = cite(profile, "health.values.clipped")
        template += ", of which {clipped:.2%} are clipped"
    reason = say(template + ".", cite(profile, "health.values.range"), **figures)
    yield Choice("preprocessing.value_range", values.range, reason)


def fit(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Crop as in the pretraining, or pad where the data shows that what a crop cuts off is missed."""
    sizes, effect = profile.health.sizes, profile.view("pad")
    if _crop_hides_most(profile):
        reason = say(
            "A center crop would show {kept:%} of the median image; whether padding scores more was not measured.",
            cite(profile, "views.pad"),
            kept=cite(profile, "health.sizes.kept_by_crop"),
        )
        yield Choice("preprocessing.fit", "pad", reason)
        return
    if sizes is None:
        reason = say(
            "Default of the recipe; the shapes of the images were not measured.", cite(profile, "health.sizes")
        )
        yield Choice("preprocessing.fit", KEEP, reason)
        return
    off_square = cite(profile, "health.sizes.off_square")
    if not sizes.many_off_square:
        reason = say(
            "As in the pretraining: {off_square:%} of the images are far from square; padding is tried from {least}.",
            off_square=off_square,
            least=percent(OFF_SQUARE),
        )
        yield Choice("preprocessing.fit", KEEP, reason)
    elif effect is None:
        reason = say(
            "Default of the recipe: {off_square:%} of the images are far from square, but padding was not measured.",
            cite(profile, "views.pad"),
            off_square=off_square,
        )
        yield Choice("preprocessing.fit", KEEP, reason)
    elif not pads(profile) and not effect.beats_majority:
        blind = blind_reason(effect, profile)
        reason = say("Default of the recipe; {blind}.", *fit_cites(profile), blind=blind)
        yield Choice("preprocessing.fit", KEEP, reason)
    else:
        won = pads(profile)
        reason = say(
            "Far from square: {off_square:%} of the images. Padded, a linear classifier scores {change}: {gain} one "
            "standard error.",
            *(() if won else gates_of(effect, profile)),
            off_square=off_square,
            change=refit_change(profile, "pad"),
            gain="a gain of more than" if won else "no gain of more than",
        )
        yield Choice("preprocessing.fit", "pad" if won else KEEP, reason)


def pads(profile: Profile) -> bool:
    """Whether images are padded: a crop would hide most of them and nobody measured what that costs; or enough of them
    are far from square, and a probe gains more than a standard error."""
    sizes, effect = profile.health.sizes, profile.view("pad")
    if sizes is None or effect is None or not sizes.many_off_square:
        return _crop_hides_most(profile)
    return effect.refitted - effect.accuracy > effect.std


def _crop_hides_most(profile: Profile) -> bool:
    """Where padding was not tried, as on very few images, the shape of the images decides."""
    sizes = profile.health.sizes
    if sizes is None or sizes.kept_by_crop is None or profile.view("pad") is not None:
        return False
    return sizes.kept_by_crop < LEAST_KEPT


def fit_cites(profile: Profile) -> tuple[Cite, ...]:
    """The figures that `pads` looks at."""
    return cite(profile, "health.sizes"), cite(profile, "views.pad")
