"""Signs of how well the network fits, in the first training and in the second on validation images too.

Source: slides, "Insights from figures" (the accuracy: big gap, no gap) and "During training" (divide the rate by 2 or
5). Thresholds were chosen on made-up curves of seeds that no test uses.

Nothing is held out in the second training, so only its training loss is left to look at, beside that of the training
that was judged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.diagnosis.curves import Case, slope, tail
from finetune_advisor.diagnosis.edits import (
    change_rate,
    keep_validation_images,
    more_capacity,
    regularize,
    smooth_labels,
    train_longer,
)
from finetune_advisor.records.diagnosis import Edit, Finding

BIG_GAP = 0.08
"""Training over validation accuracy from which a network learns by heart."""

NO_GAP = 0.04
"""The same below which it does not."""

LOW_ACCURACY = 0.85
"""Training and validation accuracy below which a network that stands still has too little to learn with."""

RISEN = 0.15
"""Of its lowest value: what the validation loss rises by when it is more than noise."""

RISEN_NATS = 0.04
"""The same of the loss of chance: a loss that is almost nothing may double."""

ERRORS = 2.0
"""Standard errors from which a difference of accuracies is more than chance."""

FEWEST = 5
"""Evaluations from which a trend can be told."""

LAST_PART = 0.4
"""The part of a training on which it is asked whether it still improves."""

STILL = 0.05
"""Of the way down, in the last part: what counts as still improving."""

LAST_HALF = 0.5
STANDSTILL = 0.02
"""Of the way down, in the last half: what counts as no progress."""

NOTHING_LEFT = 0.97
"""Share of the way down after which there is nothing to divide a rate for."""

HIGH_RATE = 0.5
"""Share of the peak rate above which it was not lowered yet."""


def overfitting(case: Case) -> Finding | None:
    """Training accuracy far above validation accuracy, by more than the few validation images explain."""
    if not case.trains or len(case.curves) < 2 or case.gap < max(BIG_GAP, ERRORS * case.accuracy_error):
        return None
    curves = case.curves
    train, val = tail(curves.train_accuracy_T).mean(), tail(curves.val_accuracy_T).mean()
    risen = _risen(case)
    evidence = f"{train:.3f} on training images, {val:.3f} on validation images"
    if risen > RISEN:
        evidence += f"; the validation loss is {100 * risen:.0f} % above its lowest"
    return Finding(
        sign="overfitting",
        title="Big gap between training and validation: overfitting",
        evidence=evidence,
        meaning="The network learns the training images by heart. More regularization, or more images, closes the gap.",
        figures={"gap": case.gap, "val_loss_risen": risen},
        edits=regularize(case.recipe, "big gap between training and validation"),
    )


def over_confident(case: Case) -> Finding | None:
    """The validation loss rises while accuracy holds: wrong answers get surer."""
    if not case.trains or len(case.curves) < FEWEST:
        return None
    curves = case.curves
    lowest = int(curves.val_loss_T.argmin())
    held = tail(curves.val_accuracy_T).mean() >= curves.val_accuracy_T[lowest] - case.accuracy_error
    rise = tail(curves.val_loss_T).mean() - curves.val_loss_T[lowest]
    if (
        _risen(case) < RISEN
        or rise < RISEN_NATS * case.chance_loss
        or lowest > len(curves) - 3
        or not held
        or not _rising(case, lowest)
    ):
        return None
    lately_T = tail(curves.val_loss_T)
    edits = list(smooth_labels(case.recipe, "the network grew sure of wrong answers"))
    if not edits and case.recipe.averaging is None:
        ema = {"kind": "ema"}
        edits = [Edit(key="averaging", value=ema, reason="labels are smoothed already; an average is less extreme")]
    return Finding(
        sign="over_confident",
        title="Validation loss rises while accuracy holds: over-confidence",
        evidence=(
            f"validation loss {curves.val_loss_T[lowest]:.3g} after epoch {curves.epoch_T[lowest]:g}, "
            f"{lately_T.mean():.3g} in the last {len(lately_T)} evaluations, at an accuracy of "
            f"{tail(curves.val_accuracy_T).mean():.3f}"
        ),
        meaning="The answers stay the same and their probabilities get extreme: do not trust them as they are.",
        figures={"val_loss_risen": _risen(case)},
        edits=tuple(edits),
    )


def _risen(case: Case) -> float:
    """The validation loss in the end over its lowest value, less one."""
    loss_T = case.curves.val_loss_T
    lowest = loss_T.min()
    return float(tail(loss_T).mean() / lowest - 1) if lowest > 0 else 0.0


def _rising(case: Case, lowest: int) -> bool:
    steep, error = slope(case.curves.epoch_T[lowest:], case.curves.val_loss_T[lowest:])
    return steep > ERRORS * error


def underfitting(case: Case) -> Finding | None:
    """No gap, and both accuracies stand still at a low value."""
    if not case.trains or len(case.curves) < FEWEST:
        return None
    curves = case.curves
    train, val = tail(curves.train_accuracy_T).mean(), tail(curves.val_accuracy_T).mean()
    if case.gap > max(NO_GAP, case.accuracy_error) or max(train, val) > LOW_ACCURACY or _still_learning(case) > STILL:
        return None
    return Finding(
        sign="underfitting",
        title="No gap and low accuracy: underfitting",
        evidence=f"{train:.3f} on training images, {val:.3f} on validation images, and both stand still",
        meaning="What trains cannot tell the classes apart. More layers, or a larger backbone, give it more room.",
        figures={"train_accuracy": float(train), "val_accuracy": float(val)},
        edits=more_capacity(case.recipe, "no gap, and low accuracy"),
    )


def still_improving(case: Case) -> Finding | None:
    """The training ended while losses were still coming down."""
    if not case.trains or len(case.curves) < FEWEST or case.val is None:
        return None
    learning = _still_learning(case)
    last = _last_part(case)
    val_steep, val_error = slope(case.curves.rate_spent[last], case.curves.val_loss_T[last])
    best_before = case.curves.val_loss_T[~last].min(initial=np.inf)
    better = val_steep < -ERRORS * val_error and case.curves.val_loss_T[-1] < (1 - STILL) * best_before
    if learning < STILL or not better or case.gap > BIG_GAP:
        return None
    loss_T = case.curves.val_loss_T[last]
    return Finding(
        sign="still_improving",
        title="Training stopped while it was still improving",
        evidence=(
            f"the validation loss fell from {loss_T[0]:.3g} to {loss_T[-1]:.3g} in the last "
            f"{len(loss_T)} of {len(case.curves)} evaluations"
        ),
        meaning="More epochs bring more: the curve has not leveled off.",
        figures={"still_to_learn": 1 - case.learned, "learned_lately": learning},
        edits=train_longer(case.recipe, 2, "the loss was still falling"),
    )


def plateau(case: Case) -> Finding | None:
    """No progress any more at a rate that was never lowered."""
    if not case.trains or len(case.curves) < 2 * FEWEST or tail(case.curves.rate_T).min() < HIGH_RATE:
        return None
    curves = case.curves
    last = curves.rate_spent >= LAST_HALF
    steep, error = slope(curves.rate_spent[last], curves.val_loss_T[last])
    before, after = curves.val_accuracy_T[~last], curves.val_accuracy_T[last]
    progress = after.max() - before.max()
    falls = steep < -ERRORS * error and -steep * LAST_HALF > STANDSTILL * case.chance_loss
    learned = _gained(case, last)
    if falls or learned > STANDSTILL or progress > ERRORS * case.accuracy_error or case.learned > NOTHING_LEFT:
        return None
    factor = 0.2 if case.curves.rate_T[-1] > 0.9 else 0.5
    value = {"kind": "plateau", "factor": factor, "patience": 2}
    return Finding(
        sign="plateau",
        title="Progress has stopped at an unchanged learning rate",
        evidence=(
            f"the best validation accuracy is {before.max():.3f} up to epoch {curves.epoch_T[~last][-1]:g} and "
            f"{after.max():.3f} after it, at {100 * curves.rate_T[-1]:.0f} % of the peak rate"
        ),
        meaning=f"Steps are too long for what is left. Divide the rate by {1 / factor:.0f} and keep going.",
        figures={"progress": float(progress), "rate": float(curves.rate_T[-1])},
        edits=(
            Edit(key="schedule", value=value, reason="no progress on the validation set: divide the rate, go on"),
            *keep_validation_images(case.recipe, "the rate follows the validation loss"),
        ),
    )


def _last_part(case: Case) -> npt.NDArray[np.bool_]:
    """The last evaluations by the rate that was spent, at least as many as have a trend."""
    last_T = case.curves.rate_spent >= 1 - LAST_PART
    last_T[-4:] = True
    return last_T


def _still_learning(case: Case) -> float:
    """What the training loss came down in the last part, as a share of the whole way; 0 where that may be noise."""
    return _gained(case, _last_part(case))


def _gained(case: Case, part_T: npt.NDArray[np.bool_]) -> float:
    time_T = case.curves.rate_spent[part_T]
    steep, error = slope(time_T, case.progress[part_T])
    return steep * float(np.ptp(time_T)) if steep > ERRORS * error else 0.0


FAR_BEHIND = 0.2
"""Of the way down from chance: what the second training may lack of the first one, on other images, by chance."""

LOWER = 0.2
"""Times the rate, which was near its limit if one of two trainings went wrong."""


def refit_astray(case: Case) -> Finding | None:
    """The training loss of the second training is no number, or ends far above that of the first one."""
    evidence = _broke_down(case) or _ended_above(case)
    if evidence is None:
        return None
    return Finding(
        sign="refit_astray",
        title="The training on all images went wrong, and its network is the model",
        evidence=evidence,
        meaning="Scores are of the first training, so they say nothing of this. A lower rate is safer for both.",
        edits=change_rate(case.recipe, LOWER, "the training on all images went wrong"),
    )


def refit_told(case: Case) -> str | None:
    """Which training the curves are of, and how far the other one is; None where there is one."""
    if not case.recipe.evaluation.refit:
        return None
    told = "The curves are of the training that was scored; the model is of a second one, on validation images too"
    if not case.refit:
        return f"{told}."
    last = case.refit[-1]
    if last.train_loss is None:
        return f"{told}, which broke down."
    if case.val is None:
        return f"{told}, which is at {case.reached(last)}."
    before = "" if not len(case.curves) else f", {case.curves.train_loss_T[-1]:.3g} the first time"
    return f"{told}: its training loss is {last.train_loss:.3g}{before}."


def _broke_down(case: Case) -> str | None:
    if not case.refit or case.refit[-1].train_loss is not None:
        return None
    last = case.refit[-1]
    said = last.events[-1].partition(" Images of that batch")[0].rstrip(".") if last.events else ""
    return said or f"The loss is no number at step {last.step}"


def _ended_above(case: Case) -> str | None:
    """Only of a second training that has come to its end."""
    if case.val is None or not case.refit or not len(case.curves):
        return None
    again, first = tail(case.refit_loss_T).mean(), tail(case.curves.train_loss_T).mean()
    if again - first < FAR_BEHIND * (case.chance_loss - case.lowest_loss):
        return None
    return f"its training loss ends at {again:.3g}, that of the first training at {first:.3g}"
