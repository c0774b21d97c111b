"""Rules for `optimizer`, `budget` and what is kept of the frozen stages: how fast and how long."""

from __future__ import annotations

import math
from collections.abc import Iterator

from finetune_advisor.advice.choice import Choice, cite, say, two_digits
from finetune_advisor.advice.rules.augmentation import augmentation_cites, augments
from finetune_advisor.advice.rules.strategy import starts_from_probe
from finetune_advisor.loading.order import BatchPlan
from finetune_advisor.records.profile import Cell, Profile

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

_TRAIN = "splits.train.images"
_COUNTED = "size.counted_per_class"


def batch_of(profile: Profile) -> int:
    """Images of a step."""
    return RATE_BATCH if profile.splits["train"].images >= MANY_FOR_A_BATCH else RATE_BATCH // 2


def rates(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Of the classifier by batch and start, of the pretrained layers by similarity."""
    size, fitted = batch_of(profile), starts_from_probe(profile)
    images, counted = cite(profile, _TRAIN), cite(profile, _COUNTED)
    slower = FITTED_SLOWER if fitted else 1.0
    new = two_digits(RATE * math.sqrt(size / RATE_BATCH))
    if size == RATE_BATCH:
        rate = say("The recipe's {new:g} for batches of {batch}", images, new=new, batch=RATE_BATCH)
    else:
        rate = say(
            "{images:,} training images, batches of {size}: the recipe's {usual:g} for {batch} becomes {new:g}, by the "
            "square root",
            images=images,
            size=size,
            usual=RATE,
            batch=RATE_BATCH,
            new=new,
        )
    start = say("", counted)
    if fitted:
        start = say(
            "; {slower:g} times slower, as the classifier starts fitted ({counted:.0f} images per class)",
            slower=slower,
            counted=counted,
        )
    yield Choice("optimizer.lr", two_digits(new / slower), say("{rate}{start}.", rate=rate, start=start))
    yield _body(profile, slower)


def _body(profile: Profile, slower: float) -> Choice:
    """The pretrained layers are not slowed where the classifier is: the ratio makes up for it."""
    similarity = profile.similarity
    border = similarity.threshold
    assert border is not None, "the profile is not placed"
    away = (border - similarity.score) / (border if similarity.score < border else 1 - border)
    moved = BODY_RATIO * BODY_FACTOR**away
    counted = cite(profile, _COUNTED)
    template = (
        "Similarity to ImageNet {score:.2f}, {side} {border:.2f}: pretrained layers move {more} the recipe's ratio "
        "of {usual:g}{start}."
    )
    start = say("", counted)
    if slower > 1:
        start = say(
            " to a new classifier's rate, which is {slower:g} times this one's ({counted:.0f} images per class)",
            slower=slower,
            counted=counted,
        )
    reason = say(
        template,
        score=cite(profile, "similarity.score"),
        side="below" if away > 0 else "at least",
        border=border,
        more="faster than by" if away > 0 else ("slower than by" if away < 0 else "by"),
        usual=BODY_RATIO,
        start=start,
    )
    return Choice("optimizer.body_lr_ratio", two_digits(min(moved * slower, 1.0)), reason)


def batch(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Small sets take small batches, for enough steps."""
    size = batch_of(profile)
    reason = say(
        "{images:,} training images, {compared} {border}: batches of {size}.",
        images=cite(profile, _TRAIN),
        compared="at least" if size == RATE_BATCH else "fewer than",
        border=MANY_FOR_A_BATCH,
        size=size,
    )
    yield Choice("optimizer.batch", size, reason)


def epochs(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """As many as give neither too few nor too many steps."""
    count = epochs_of(profile)
    if count > EPOCHS:
        limit = f"{count} epochs for at least {STEPS_AT_LEAST} steps"
    elif count < EPOCHS:
        limit = f"{count} epochs for at most {STEPS_AT_MOST:,} steps, at least {EPOCHS_AT_LEAST} epochs"
    else:
        limit = f"the recipe's {EPOCHS} epochs give between {STEPS_AT_LEAST} and {STEPS_AT_MOST:,} steps"
    reason = say(
        "{images:,} training images in batches of {size}: {limit}.",
        images=cite(profile, _TRAIN),
        size=batch_of(profile),
        limit=limit,
    )
    yield Choice("budget.epochs", count, reason)


def cached_views(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """One view serves all epochs where nothing is augmented; kept views of augmented images cost accuracy."""
    if not augments(profile):
        reason = say("Nothing is augmented: one view serves all epochs.", *augmentation_cites(profile))
        yield Choice("strategy.cached_views", 1, reason)


def epochs_of(profile: Profile) -> int:
    """Times that every training image is seen."""
    per_epoch = _per_epoch(profile)
    least, most = math.ceil(STEPS_AT_LEAST / per_epoch), max(EPOCHS_AT_LEAST, STEPS_AT_MOST // per_epoch)
    return min(max(EPOCHS, least), most)


def _per_epoch(profile: Profile) -> int:
    return BatchPlan(profile.splits["train"].images, batch_of(profile), profile.seed).steps_per_epoch
