"""Signs of the learning rate on the curve of the training loss.

Source: slides, "Insights from figures" (the learning rate: very high, high, good and low); Karpathy, "CS231n:
Convolutional Neural Networks for Visual Recognition", 2015. Thresholds were chosen on made-up curves of seeds that no
test uses.
"""

from __future__ import annotations

import numpy as np

from finetune_advisor.diagnosis.curves import Case, FloatArray, roughness, slope, tail
from finetune_advisor.diagnosis.edits import GOOD_RATIO, change_rate, train_longer
from finetune_advisor.records.diagnosis import Finding

EXPLODED = 1.25
"""Multiple of the loss of chance that an epoch's mean loss does not reach unless steps go too far."""

BLOWN_UP = 3.0
"""The same for the first epoch alone, in which the first steps of a new classifier may well go too far."""

RECOVERED = 0.9
"""Share of the way down after which jumps on the way did no lasting harm."""

ROUGH = 0.05
"""Roughness of the training loss, over the loss of chance, from which it jumps: an epoch's mean is smoother."""

HIGH_UPDATES = 1e-2
LOW_UPDATES = 1e-4
"""A step over the weights it moves is usually between these two."""

MORE_THAN_NOISE = 3.0
"""Roughness of the training loss over that which the noise of its batches explains."""

FAR_ABOVE = 0.6
"""Share of the way down at which a plateau is far above what a lower rate reaches."""

EARLY = 0.35
"""Share of the training after which a curve that has come to its plateau came there early."""

FLAT = 0.06
"""Of the way down: what a curve that stands still moves at most over the rest of the training."""

FEW = 3
"""Evaluations below which no curve can be read."""

ENOUGH_EPOCHS = 8
"""Epochs that fine-tuning takes in the shipped recipes."""

LITTLE = 0.5
"""Share of the way down that a rate which is too low does not come beyond."""

STRAIGHT = 0.5
"""Speed in the second half of the training, over that in the first, from which a curve counts as a straight line."""


def rate_too_high(case: Case) -> Finding | None:
    """The loss is no number, explodes, jumps up and down, or stands still early and far above."""
    if not case.trains:
        return None
    seen = _broken(case) or _exploded(case) or _jumping(case) or _stuck_above(case)
    if seen is None:
        return None
    evidence, factor = seen
    ratio = _body_update(case)
    if ratio is not None and ratio > HIGH_UPDATES:
        evidence += f"; a step moves the weights by {ratio:.2g} of their size, about {GOOD_RATIO:g} is right"
        factor = min(factor, max(1e-3, GOOD_RATIO / ratio))
    return Finding(
        sign="rate_too_high",
        title="The learning rate is too high",
        evidence=evidence,
        meaning="Steps jump over the valley that they should lead down into. A lower rate gets further.",
        figures={"update_ratio": ratio} if ratio is not None else {},
        edits=change_rate(case.recipe, factor, "the loss explodes, jumps or gets stuck"),
    )


def _broken(case: Case) -> tuple[str, float] | None:
    broken = case.curves.broken
    return None if broken is None else (broken.partition(" Images of that batch")[0].rstrip("."), 0.1)


def _exploded(case: Case) -> tuple[str, float] | None:
    loss_T = case.curves.train_loss_T
    if not len(loss_T) or loss_T.max() < EXPLODED * case.chance_loss:
        return None
    worst = int(loss_T.argmax())
    recovered = len(loss_T) < FEW or case.learned > FAR_ABOVE
    if worst == 0 and recovered and loss_T[0] < BLOWN_UP * case.chance_loss:
        return None
    at = case.curves.epoch_T[worst]
    return f"the training loss was {loss_T[worst]:.3g} in epoch {at:g}, where guessing has {case.chance_loss:.3g}", 0.1


def _jumping(case: Case) -> tuple[str, float] | None:
    loss_T, rough = case.curves.train_loss_T, _roughness(case)
    ups = int((np.diff(loss_T) > ROUGH * case.chance_loss).sum())
    if len(loss_T) < FEW + 2 or rough < ROUGH or ups < 2 or case.learned > RECOVERED:
        return None
    return f"the training loss rises in {ups} of {len(loss_T) - 1} epochs, by up to {np.diff(loss_T).max():.2g}", 0.2


def _roughness(case: Case) -> float:
    """Of the training loss over that of chance; 0 where batches explain it."""
    rough = roughness(case.curves.train_loss_T)
    return rough / case.chance_loss if rough > MORE_THAN_NOISE * case.curves.expected_roughness else 0.0


def _stuck_above(case: Case) -> tuple[str, float] | None:
    """A fast fall, then no progress while most is still to learn, with large steps."""
    learned_T, time_T = case.progress, case.curves.rate_spent
    if len(learned_T) < FEW + 2 or case.learned > FAR_ABOVE or case.recipe.mixing is not None:
        return None  # of mixed images nobody knows how low the loss can come
    later_T = learned_T[time_T >= EARLY]
    if len(later_T) < FEW or abs(later_T[-2:].mean() - later_T[:2].mean()) > FLAT:
        return None
    ratio = _body_update(case)
    large = ratio > HIGH_UPDATES if ratio is not None else _roughness(case) > ROUGH / 2
    if not large:
        return None
    loss = tail(case.curves.train_loss_T).mean()
    return f"the training loss stands still at {loss:.3g} since the first third of the training", 0.1


def too_few_evaluations(case: Case) -> Finding | None:
    """Fewer epochs than a curve can be read from, and more to learn."""
    loss_T = case.curves.train_loss_T
    if not case.trains or not 0 < len(loss_T) < FEW or case.val is None:
        return None
    return Finding(
        sign="too_few_evaluations",
        title="Training stopped before it began to level off",
        evidence=(
            f"{len(loss_T)} evaluation{'s' if len(loss_T) > 1 else ''}; the training loss is {loss_T[-1]:.3g}, and "
            f"{case.lowest_loss:.3g} is the lowest there can be"
        ),
        meaning="The classifier is new and needs a few epochs; so short a curve cannot be read.",
        figures={"train_loss": float(loss_T[-1]), "evaluations": float(len(loss_T))},
        edits=train_longer(case.recipe, 4, "the loss was still falling", epochs=ENOUGH_EPOCHS),
    )


def rate_too_low(case: Case) -> Finding | None:
    """A loss that comes down little and along a straight line."""
    curves, learned_T = case.curves, case.progress
    if not case.trains or len(curves) < FEW + 1 or case.learned > LITTLE:
        return None
    ratio = _body_update(case)
    if ratio is not None and ratio > HIGH_UPDATES / 10:
        return None
    straight = _straight(curves.rate_spent, learned_T)
    tiny = ratio is not None and ratio < LOW_UPDATES
    if not straight and not tiny:
        return None
    start, end = curves.train_loss_T[0], curves.train_loss_T[-1]
    evidence = f"the training loss fell from {start:.3g} to {end:.3g} in {len(curves)} epochs, along a straight line"
    if ratio is not None:
        evidence += f"; a step moves the weights by {ratio:.1g} of their size, about {GOOD_RATIO:g} is right"
    factor = 10.0 if ratio is None else min(1000.0, max(5.0, GOOD_RATIO / ratio))
    return Finding(
        sign="rate_too_low",
        title="The learning rate is too low",
        evidence=evidence,
        meaning="The network has hardly moved. A higher rate gets there in the same time.",
        figures={"train_loss": float(end), **({"update_ratio": ratio} if ratio is not None else {})},
        edits=change_rate(case.recipe, factor, "the loss fell along a straight line"),
    )


def _straight(time_T: FloatArray, learned_T: FloatArray) -> bool:
    """Whether a curve rises, and in its second half hardly slower than in its first, as far as can be told."""
    steep, error = slope(time_T, learned_T)
    early_T = time_T <= (time_T[0] + 1) / 2
    first, _ = slope(time_T[early_T], learned_T[early_T])
    second, doubt = slope(time_T[~early_T], learned_T[~early_T])
    doubt = doubt if np.isfinite(doubt) else 0.0
    return steep > 2 * error and second + 2 * doubt > STRAIGHT * max(first, steep)


def _body_update(case: Case) -> float | None:
    """The largest step over the weights among pretrained layers; a head that began at zero says nothing."""
    ratios = [ratio for group, ratio in case.curves.update_ratio.items() if group.startswith("body")]
    return max(ratios, default=None)
