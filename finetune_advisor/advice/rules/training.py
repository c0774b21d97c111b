"""Rules for `optimizer`, `schedule` and `budget`: how fast and how long."""

from __future__ import annotations

import math
from collections.abc import Iterator

from finetune_advisor.advice.choice import KEEP, Choice
from finetune_advisor.advice.rules.augmentation import augments
from finetune_advisor.advice.rules.strategy import starts_from_probe
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.data.plan import BatchPlan
from finetune_advisor.techniques.strategy import VIEWS

STEPS_AT_LEAST = 250
"""Fewer steps leave the new classifier half trained, however few the images."""

STEPS_AT_MOST = 5000
"""More steps bring little on frozen or slowly moving features."""

EPOCHS = 8
"""Epochs when neither limit on steps applies."""

EPOCHS_AT_LEAST = 2
"""However many the images."""

MANY_FOR_A_BATCH = 320
"""Training images from which a step takes 32 of them instead of 16."""

RATE, RATE_BATCH = 3e-3, 32
"""Rate of a new classifier in the shipped recipes, and the batch it was measured with. Adam's rate goes with the root
of the batch (Malladi et al. 2022, On the SDEs and Scaling Rules for Adaptive Gradient Algorithms)."""

FITTED_SLOWER = 3.0
"""How many times slower a classifier moves that starts from a fitted probe: it is found, and follows the layers."""

BODY_RATIO = 0.1
"""Rate of the pretrained layers over that of a new classifier at the border between similar and different."""

BODY_FACTOR = 2.0
"""How many times larger that is for images nothing like ImageNet, and smaller for ImageNet itself. By hand."""


def batch_of(profile: Profile) -> int:
    """Images a step."""
    return 32 if profile.splits["train"].images >= MANY_FOR_A_BATCH else 16


def optimizer(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The one that forgives a rate that is not quite right."""
    validation = profile.splits["val"].images
    reason = f"adamw forgives a rate that is not quite right: none is searched for on {validation} validation images."
    yield Choice("optimizer", KEEP, reason)


def rates(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Of the classifier by batch and start, of the pretrained layers by similarity."""
    size, similarity = batch_of(profile), profile.similarity
    new = RATE * math.sqrt(size / RATE_BATCH)
    slower = FITTED_SLOWER if starts_from_probe(profile) else 1.0
    rate = _two_digits(new / slower)
    reason = f"{RATE:g} at a batch of {RATE_BATCH}, with the root of the batch: {_two_digits(new):g} at {size}"
    if slower > 1:
        reason += f"; {slower:g} times slower, because the classifier starts from a fitted probe"
    yield Choice("optimizer.lr", rate, f"{reason}.")
    border = similarity.threshold
    assert border is not None, "the profile is not placed"
    away = (border - similarity.score) / (border if similarity.score < border else 1 - border)
    body = BODY_RATIO * BODY_FACTOR**away
    ratio = _two_digits(min(body * new / rate, 1.0))
    word = "smaller" if away < 0 else "larger"
    reason = (
        f"Pretrained layers move at {_two_digits(rate * ratio):g}. At a similarity of {similarity.score:.2f} their "
        f"steps are {word} than at the border ({BODY_RATIO:g} of a new classifier's): what fits already changes little."
    )
    yield Choice("optimizer.body_lr_ratio", ratio, reason)


def batch(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Small sets take small batches, for enough steps."""
    train = profile.splits["train"].images
    yield Choice(
        "optimizer.batch", batch_of(profile), f"{train} training images make {_per_epoch(profile)} steps an epoch."
    )


def schedule(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """One rise and one fall, over however many steps there are."""
    reason = f"{steps_of(profile)} steps in all: one rise and one fall need no choice of when to lower the rate."
    yield Choice("schedule", KEEP, reason)


def epochs(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """As many as give neither too few nor too many steps."""
    count = epochs_of(profile)
    if count > EPOCHS:
        why = f"fewer than {STEPS_AT_LEAST} steps leave the new classifier half trained"
    elif count < EPOCHS:
        why = f"more than {STEPS_AT_MOST} steps bring little, but every image is seen {EPOCHS_AT_LEAST} times"
    else:
        why = f"{EPOCHS} epochs as in the shipped recipe"
    yield Choice("budget.epochs", count, f"{steps_of(profile)} steps: {why}.")


def cached_views(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """As many augmented looks as the shipped recipe keeps, as long as they are used again."""
    count = epochs_of(profile)
    if not augments(profile):
        yield Choice("strategy.cached_views", 1, f"Nothing is augmented: all {count} epochs see the same look.")
    elif count <= VIEWS:
        reason = f"In {count} epochs none of {VIEWS} looks at an image would be used again: every epoch augments anew."
        yield Choice("strategy.cached_views", None, reason)
    else:
        reason = (
            f"{count} epochs take turns on these looks at each image: the frozen stages run once for each look and not "
            "in every epoch. null augments anew each time, and takes longer."
        )
        yield Choice("strategy.cached_views", VIEWS, reason)


def epochs_of(profile: Profile) -> int:
    """Times that every training image is seen."""
    per_epoch = _per_epoch(profile)
    least, most = math.ceil(STEPS_AT_LEAST / per_epoch), max(EPOCHS_AT_LEAST, STEPS_AT_MOST // per_epoch)
    return min(max(EPOCHS, least), most)


def steps_of(profile: Profile) -> int:
    """Steps in all."""
    return epochs_of(profile) * _per_epoch(profile)


def _per_epoch(profile: Profile) -> int:
    return BatchPlan(profile.splits["train"].images, batch_of(profile), profile.seed).steps_per_epoch


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")
