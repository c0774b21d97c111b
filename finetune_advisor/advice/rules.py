"""Every decision of the advice, in reading order: each is a small function from a placed profile to choices.

A choice is a recipe key, its value, and the reason with the numbers behind it. The reason becomes the comment above the
line in recipe.yaml. Nothing here looks at test images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_advisor.advice.table import TOP, probe_of_cell
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.data.plan import BatchPlan

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

EVEN_SHARE = 0.9
"""Classes count as even when their effective number is at least this share of their number."""

RARE_CLASS_RATIO = 3.0
"""Largest over smallest class from which the question of class weights is worth a sentence."""


KEEP = object()


@dataclass(frozen=True)
class Choice:
    """A key of the recipe with the value chosen for this data, and why."""

    key: str
    value: Any
    """What the key is set to, or `KEEP` for a line of the shipped recipe that is explained and left alone."""
    reason: str


def choices(profile: Profile, cell: Cell, *, workers: int | None) -> tuple[Choice, ...]:
    """All choices for a placed profile and a cell, in the order of the recipe."""
    found: list[Choice] = []
    for rule in (*_ALWAYS, *_RULES[cell]):
        found += rule(profile, cell)
    if workers is not None:
        found.append(Choice("runtime.workers", workers, "One process per core to decode images."))
    return tuple(found)


def _name(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    name = re.sub(r"[^\w.-]+", "-", Path(profile.data).resolve().name).strip("-.") or "run"
    yield Choice("name", name, "Runs are called runs/<name>-<n>.")
    yield Choice("seed", profile.seed, "The same seed gives the same split, folds and result.")


def _data(profile: Profile, cell: Cell) -> Iterator[Choice]:
    yield Choice(
        "data.path", profile.data, f"{profile.size.images:,} trainable images in {len(profile.classes)} classes."
    )
    if cell in ("linear_probe", "stage_probe"):
        use = "Not used by probes: they are judged on folds of all trainable images and then fitted on all of them."
    else:
        use = f"{profile.splits['val'].images} images choose the best epoch and take no part in training."
    yield Choice("data.validation", profile.validation, use)


def _class_weights(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    balance = profile.health.imbalance
    if balance.ratio < RARE_CLASS_RATIO:
        reason = f"The largest class has {balance.ratio:.1f} times the images of the smallest: balanced enough."
    else:
        reason = (
            f"{balance.largest} has {balance.ratio:.0f} times the images of {balance.smallest}. Plain accuracy is best "
            "without weights; choose balanced if missing a rare class costs more than a false alarm."
        )
    yield Choice("data.class_weights", None, reason)


def _backbone(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    yield Choice("backbone.name", profile.backbone, "The network whose features were measured.")
    yield Choice("backbone.weights", profile.weights, "The weights it was measured with.")
    yield Choice("preprocessing.size", profile.size_px, "The size it was measured at.")


def _strategy(profile: Profile, cell: Cell) -> Iterator[Choice]:
    if cell != profile.cell:
        yield Choice("strategy", KEEP, f"Chosen by hand; the table points to {profile.cell}.")
        return
    yield Choice("strategy", KEEP, f"{amount_sentence(profile)} {similarity_sentence(profile)} {_CELL_REASON[cell]}")


def amount_sentence(profile: Profile) -> str:
    """How much data there is, as a sentence with its numbers."""
    size = profile.size
    classes = f"{len(profile.classes)} classes"
    if size.effective_classes < EVEN_SHARE * len(profile.classes):
        classes += f" that weigh like {size.effective_classes:.1f} even ones"
    each = _beside(size.per_effective_class, size.threshold, digits=0)
    return (
        f"{size.images:,} images in {classes}: {each} a class, {size.verdict} (plenty begins at {size.threshold:.0f})."
    )


def similarity_sentence(profile: Profile) -> str:
    """How similar the images are to ImageNet, as a sentence with its numbers."""
    similarity = profile.similarity
    score = _beside(similarity.score, similarity.threshold, digits=2)
    word = "Similar to" if similarity.verdict == "similar" else "Different from"
    return (
        f"{word} ImageNet: score {score} [{similarity.low:.2f}, {similarity.high:.2f}], "
        f"similar begins at {similarity.threshold:.2f}."
    )


def _beside(value: float, border: float | None, *, digits: int) -> str:
    """A number with as many digits as it takes not to read as the border it lies below."""
    assert border is not None, "the profile is not placed"
    while value < border and f"{value:.{digits}f}" == f"{border:.{digits}f}" and digits < 6:
        digits += 1
    return f"{value:.{digits}f}"


def _stages(profile: Profile, cell: Cell) -> Iterator[Choice]:
    best, top = probe_of_cell(profile, cell), profile.probe(TOP)
    value = "all" if best.stage == "all" else [best.stage]
    what = "all stages joined have" if best.stage == "all" else f"{best.stage} has"
    gain = 100 * (best.accuracy - top.accuracy)
    reason = (
        f"On held-out folds {what} a log loss of {best.log_loss:.3f} (accuracy {best.accuracy:.3f} +- {best.std:.3f}), "
        f"the top layer alone {top.log_loss:.3f} (accuracy {top.accuracy:.3f}): {gain:+.1f} points."
    )
    if top.log_loss <= best.log_loss:
        reason += " By log loss the top layer alone is no worse: linear_probe would do as well."
    yield Choice("strategy.stages", value, reason)


def _fit(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    yield Choice("preprocessing.fit", KEEP, "As in the pretraining. Choose pad where objects reach to the edge.")


def _rates(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    yield Choice("optimizer.lr", KEEP, "The shipped recipe's; not fitted to the data.")
    yield Choice("optimizer.body_lr_ratio", KEEP, "Pretrained layers need small steps only, or they forget.")


def _flips(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    yield Choice(
        "augmentation.horizontal_flip",
        KEEP,
        "Photographs stay true when mirrored. Take this out for text, digits and whatever has a left and a right: "
        "that is not checked.",
    )


def _batch_size(profile: Profile) -> int:
    return 32 if profile.splits["train"].images >= MANY_FOR_A_BATCH else 16


def _batch(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    train, batch = profile.splits["train"].images, _batch_size(profile)
    steps = BatchPlan(train, batch, profile.seed).steps_per_epoch
    yield Choice("optimizer.batch", batch, f"{train} training images make {steps} steps an epoch.")


def _epochs(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    per_epoch = BatchPlan(profile.splits["train"].images, _batch_size(profile), profile.seed).steps_per_epoch
    least, most = math.ceil(STEPS_AT_LEAST / per_epoch), max(EPOCHS_AT_LEAST, STEPS_AT_MOST // per_epoch)
    epochs = min(max(EPOCHS, least), most)
    if epochs > EPOCHS:
        why = f"fewer than {STEPS_AT_LEAST} steps leave the new classifier half trained"
    elif epochs < EPOCHS:
        why = f"more than {STEPS_AT_MOST} steps bring little, but every image is seen {EPOCHS_AT_LEAST} times"
    else:
        why = f"{EPOCHS} epochs as in the shipped recipe"
    yield Choice("budget.epochs", epochs, f"{epochs * per_epoch} steps: {why}.")


_CELL_REASON: dict[Cell, str] = {
    "linear_probe": "So a linear classifier on top; training layers on so few images would sooner harm than help.",
    "stage_probe": "So linear classifiers at different stages; early layers see what ImageNet's objects do not need.",
    "few_layers": "So fine-tune the last layers at a smaller rate; the early ones already fit.",
    "many_layers": "So fine-tune most layers at a smaller rate; only the first ones fit as they are.",
}

_Rule = Callable[[Profile, Cell], Iterator[Choice]]
_ALWAYS: tuple[_Rule, ...] = (_name, _data, _class_weights, _backbone, _fit, _strategy)
_RULES: dict[Cell, tuple[_Rule, ...]] = {
    "linear_probe": (),
    "stage_probe": (_stages,),
    "few_layers": (_flips, _rates, _batch, _epochs),
    "many_layers": (_flips, _rates, _batch, _epochs),
}
