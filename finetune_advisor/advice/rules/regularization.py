"""Rules for `loss` and `regularization`: what keeps few images from being learned by heart."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.advice.choice import KEEP, Choice
from finetune_advisor.artifacts.profile import Cell, Profile

DROPOUT_MIDDLE, DROPOUT_SLOPE = 0.2, -0.2
"""Dropout at the border between little and plenty, as measured for the shipped recipes, and how it falls with the
amount. The slope is set by hand."""

DECAY_MIDDLE, DECAY_SLOPE = -4.0, -2.0
"""Powers of ten of weight decay, likewise."""


def loss(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Cross entropy, also where labels are in doubt: focal loss would look at those most."""
    suspects = len(profile.health.label_suspects)
    doubt = f"the {suspects} images whose labels probes contradict" if suspects else "labels that are wrong"
    ratio = profile.health.imbalance.ratio
    reason = f"Classes differ by a factor of {ratio:.1f} in size. Focal loss would look hardest at {doubt}."
    yield Choice("loss", KEEP, reason)


def label_smoothing(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The shipped recipe's: nobody measured that more of it makes up for labels that may be wrong."""
    suspects = len(profile.health.label_suspects)
    reason = "As shipped, for all data alike."
    if suspects:
        reason += f" Labels that may be wrong: {suspects:,}. They are in review.csv, for you to check."
    yield Choice("loss.label_smoothing", KEEP, reason)


def weight_decay(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Stronger with less data."""
    amount = _amount(profile)
    exponent = DECAY_MIDDLE + DECAY_SLOPE * (amount - 0.5)
    strength = float(f"{10**exponent:.1g}")
    reason = (
        f"The amount is {amount:.2f}: the less data, the stronger; at the border to plenty it is {10**DECAY_MIDDLE:g}."
    )
    yield Choice("regularization.l2.strength", strength, reason)


def dropout(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """More of it with less data."""
    amount = _amount(profile)
    rate = round(DROPOUT_MIDDLE + DROPOUT_SLOPE * (amount - 0.5), 2)
    reason = f"The amount is {amount:.2f}: the less data, the more; at the border to plenty it is {DROPOUT_MIDDLE:g}."
    yield Choice("regularization.dropout.rate", rate, reason)


def _amount(profile: Profile) -> float:
    assert profile.size.amount is not None, "the profile is not placed"
    return profile.size.amount
