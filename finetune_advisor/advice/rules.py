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

from finetune_advisor.advice.table import best_probe
from finetune_advisor.artifacts.profile import Cell, Profile

STEPS_AT_LEAST = 250
"""Fewer steps leave the new classifier half trained, however few the images."""

STEPS_AT_MOST = 5000
"""More steps bring little on frozen or slowly moving features."""

EPOCHS = 8
"""Epochs when neither limit on steps applies."""

RARE_CLASS_RATIO = 3.0
"""Largest over smallest class from which the question of class weights is worth a sentence."""


@dataclass(frozen=True)
class Choice:
    """A key of the recipe with the value chosen for this data, and why."""

    key: str
    value: Any
    reason: str


def choices(profile: Profile, cell: Cell, *, workers: int) -> tuple[Choice, ...]:
    """All choices for a placed profile and a cell, in the order of the recipe."""
    found: list[Choice] = []
    for rule in (*_ALWAYS, *_RULES[cell]):
        found += rule(profile, cell)
    found.append(Choice("runtime.workers", workers, "One process per core to decode images."))
    return tuple(found)


def _name(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    name = re.sub(r"[^\w.-]+", "-", Path(profile.data).resolve().name).strip("-.") or "run"
    yield Choice("name", name, "Runs are called runs/<name>-<n>.")
    yield Choice("seed", profile.seed, "The same seed gives the same split, folds and result.")


def _data(profile: Profile, cell: Cell) -> Iterator[Choice]:
    yield Choice(
        "data.path", profile.data, f"{profile.size.images} trainable images in {len(profile.classes)} classes."
    )
    if cell in ("linear_probe", "stage_probe"):
        use = "A probe is judged on folds of all trainable images and then fitted on all of them, so it loses none."
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
        yield Choice("strategy", None, f"Chosen by hand; the table points to {profile.cell}.")
        return
    size, similarity = profile.size, profile.similarity
    yield Choice(
        "strategy",
        None,
        f"{size.verdict} data: {size.per_class:.0f} images a class, plenty begins at {size.threshold:.0f}. "
        f"{similarity.verdict} to ImageNet: score {similarity.score:.2f} "
        f"[{similarity.low:.2f}, {similarity.high:.2f}], similar begins at {similarity.threshold:.2f}. "
        f"{_CELL_REASON[cell]}",
    )


def _stages(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    best = best_probe(profile)
    pooled = profile.probe("pooled")
    value = "all" if best.stage == "all" else [best.stage]
    gain = 100 * (best.accuracy - pooled.accuracy)
    yield Choice(
        "strategy.stages",
        value,
        f"On held-out folds {best.stage} has the least log loss, {best.log_loss:.3f} (accuracy {best.accuracy:.3f} "
        f"+- {best.std:.3f}); the top layer alone has {pooled.log_loss:.3f} (accuracy {pooled.accuracy:.3f}): "
        f"{gain:+.1f} points.",
    )


def _batch(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    train = profile.splits["train"].images
    batch = 32 if train >= 320 else 16
    yield Choice("optimizer.batch", batch, f"{train} training images make {math.ceil(train / batch)} steps an epoch.")


def _epochs(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    train = profile.splits["train"].images
    steps_per_epoch = math.ceil(train / (32 if train >= 320 else 16))
    least = math.ceil(STEPS_AT_LEAST / steps_per_epoch)
    most = max(1, STEPS_AT_MOST // steps_per_epoch)
    epochs = min(max(EPOCHS, least), max(most, 2))
    yield Choice(
        "budget.epochs",
        epochs,
        f"{epochs * steps_per_epoch} steps; {EPOCHS} epochs unless that is fewer than {STEPS_AT_LEAST} steps "
        f"or more than {STEPS_AT_MOST}.",
    )


_CELL_REASON: dict[Cell, str] = {
    "linear_probe": "So: a linear classifier on top; training layers on so few images would sooner harm than help.",
    "stage_probe": "So: linear classifiers at different stages; early layers see what ImageNet's objects do not need.",
    "few_layers": "So: fine-tune the last layers at a smaller rate; the early ones already fit.",
    "many_layers": "So: fine-tune most layers at a smaller rate; only the first ones fit as they are.",
}

_Rule = Callable[[Profile, Cell], Iterator[Choice]]
_ALWAYS: tuple[_Rule, ...] = (_name, _data, _class_weights, _backbone, _strategy)
_RULES: dict[Cell, tuple[_Rule, ...]] = {
    "linear_probe": (),
    "stage_probe": (_stages,),
    "few_layers": (_batch, _epochs),
    "many_layers": (_batch, _epochs),
}
