"""Rules for `regularization`: what keeps few images from being learned by heart."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.advice.choice import Choice, Reason, cite, say
from finetune_advisor.advice.table import BORDER
from finetune_advisor.records.profile import Cell, Profile

DROPOUT_MIDDLE, DROPOUT_SLOPE = 0.2, -0.2
"""Dropout at the border between little and plenty, as measured for the shipped recipes, and how it falls with the
amount. The slope is set by hand."""

DECAY_MIDDLE, DECAY_SLOPE = -4.0, -2.0
"""Powers of ten of weight decay, likewise."""


def weight_decay(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Stronger with less data."""
    strength = float(f"{10 ** (DECAY_MIDDLE + DECAY_SLOPE * (_amount(profile) - BORDER)):.1g}")
    yield Choice("regularization.l2.strength", strength, _by_amount(profile, strength, 10**DECAY_MIDDLE))


def dropout(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """More of it with less data."""
    rate = round(DROPOUT_MIDDLE + DROPOUT_SLOPE * (_amount(profile) - BORDER), 2)
    yield Choice("regularization.dropout.rate", rate, _by_amount(profile, rate, DROPOUT_MIDDLE))


def _by_amount(profile: Profile, value: float, usual: float) -> Reason:
    """What the amount made of the shipped recipe's value, which is that at the border."""
    amount = cite(profile, "size.amount")
    if value == usual:
        return say(
            "Amount of data {amount:.2f}, near the border of {border:g}: as in the recipe.",
            amount=amount,
            border=BORDER,
        )
    return say(
        "Amount of data {amount:.2f}, {side} the border of {border:g}: {more} than the {usual:g} of the recipe.",
        amount=amount,
        side="below" if value > usual else "above",
        border=BORDER,
        more="more" if value > usual else "less",
        usual=usual,
    )


def _amount(profile: Profile) -> float:
    assert profile.size.amount is not None, "the profile is not placed"
    return profile.size.amount
