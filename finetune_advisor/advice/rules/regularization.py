"""Rules for `loss` and `regularization`: what keeps few images from being learned by heart."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_advisor.advice.choice import KEEP, Choice
from finetune_advisor.artifacts.profile import Cell, Profile

SMOOTHING, MOST_SMOOTHING = 0.1, 0.3
"""Share of the label that is spread over all classes: the shipped recipes', and the most, whatever the labels."""

SMOOTHING_PER_SUSPECT = 2.0
"""Smoothing for each share of suspicious labels: about half of the wrong labels are found."""

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
    """More of it where many labels are in doubt."""
    suspects, images = len(profile.health.label_suspects), profile.size.images
    if profile.sampled is not None:
        images = profile.sampled.images
    share = suspects / images
    smoothing = round(min(max(SMOOTHING, SMOOTHING_PER_SUSPECT * share), MOST_SMOOTHING), 2)
    if suspects == 0:
        reason = f"None of {images:,} labels is contradicted by the probes: the shipped recipe's."
    else:
        reason = f"Probes contradict {suspects} of {images:,} labels ({100 * share:.1f} %)."
        if smoothing > SMOOTHING:
            reason += f" More than the usual {SMOOTHING:g}, so that wrong labels pull less."
    yield Choice("loss.label_smoothing", smoothing, reason)


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
