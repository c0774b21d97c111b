"""What helps, as changes of a recipe's keys."""

from __future__ import annotations

import math
from typing import Any

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.diagnosis import Edit
from finetune_advisor.techniques.regularization import L2, Dropout
from finetune_advisor.techniques.strategy import FewLayers, ManyLayers, Probe
from finetune_advisor.techniques.strategy.base import TopStages

GOOD_RATIO = 1e-3
"""Step over weights where the rate is right: the middle, on a logarithmic scale, of what is usual."""

MOST_STAGES = 6
"""Stages beyond which `few_layers` is no longer what its name says."""

DROPOUT, MOST_DROPOUT = 0.3, 0.6
DECAY, MOST_DECAY = 0.01, 0.1
SMOOTHING, MOST_SMOOTHING = 0.1, 0.2
CROP = {"kind": "random_crop", "scale": [0.5, 1.0]}


def round_value(value: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, on a logarithmic scale."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [step * power for step in (1.0, 2.0, 5.0, 10.0)]
    nearest = min(steps, key=lambda step: abs(math.log(step / value)))
    return float(f"{nearest:.0e}")


def change_rate(recipe: Recipe, factor: float, why: str) -> tuple[Edit, ...]:
    """Another peak rate, by about this factor."""
    assert recipe.optimizer is not None, "only what trains has a rate"
    before, after = recipe.optimizer.lr, round_value(recipe.optimizer.lr * factor)
    return (Edit(key="optimizer.lr", value=after, reason=f"{before:g} before: {why}"),)


def change_body_rate(recipe: Recipe, factor: float, why: str) -> tuple[Edit, ...]:
    """Another rate of the pretrained layers alone, by about this factor."""
    assert recipe.optimizer is not None, "only what trains has a rate"
    before = recipe.optimizer.body_lr_ratio
    after = min(1.0, round_value(before * factor))
    return (Edit(key="optimizer.body_lr_ratio", value=after, reason=f"{before:g} before: {why}"),)


def train_longer(recipe: Recipe, factor: float, why: str, *, epochs: int = 1) -> tuple[Edit, ...]:
    """A longer budget, in the unit it is given in; in epochs at least so many."""
    assert recipe.budget is not None, "only what trains has a budget"
    unit = recipe.budget.unit
    before = getattr(recipe.budget, unit)
    after = before * factor if unit == "minutes" else max(round(before * factor), epochs if unit == "epochs" else 1)
    return (Edit(key=f"budget.{unit}", value=after, reason=f"{before:g} before: {why}"),)


def keep_validation_images(recipe: Recipe, why: str) -> tuple[Edit, ...]:
    """No second training with the validation images, where something reads them on the way."""
    return (Edit(key="evaluation.refit", value=False, reason=why),) if recipe.evaluation.refit else ()


def regularize(recipe: Recipe, why: str) -> tuple[Edit, ...]:
    """Stronger regularization: dropout, decay, augmentation and label smoothing, where there is room for more."""
    edits = []
    items = {item.kind: item.model_dump() for item in recipe.regularization or ()}
    dropout, decay = items.get("dropout", {}).get("rate", 0.0), items.get("l2", {}).get("strength", 0.0)
    stronger = {
        "dropout": {"rate": max(DROPOUT, min(MOST_DROPOUT, dropout + 0.2))},
        "l2": {"strength": max(DECAY, min(MOST_DECAY, 10 * decay))},
    }
    items |= {"l2": {**L2().model_dump(), **items.get("l2", {}), **stronger["l2"]}}
    items |= {"dropout": {**Dropout().model_dump(), **items.get("dropout", {}), **stronger["dropout"]}}
    value = tuple(items.values())
    if value != tuple(item.model_dump() for item in recipe.regularization or ()):
        edits.append(Edit(key="regularization", value=value, reason=f"stronger than before: {why}"))
    if recipe.augmentation is None:
        edits.append(
            Edit(
                key="augmentation",
                value=[CROP],
                reason="no two epochs see the same picture; add horizontal_flip where left and right mean the same",
            )
        )
        if getattr(recipe.strategy, "cached_views", None) is not None:
            edits.append(Edit(key="strategy.cached_views", value=None, reason="a cached view would come again"))
    return (*edits, *smooth_labels(recipe, why))


def smooth_labels(recipe: Recipe, why: str) -> tuple[Edit, ...]:
    """More label smoothing, which keeps a network from being sure of everything; nothing where it is high already."""
    before = getattr(recipe.loss, "label_smoothing", None)
    if before is None or before >= MOST_SMOOTHING:
        return ()
    after = min(MOST_SMOOTHING, before + SMOOTHING)
    return (Edit(key="loss.label_smoothing", value=round(after, 3), reason=f"{before:g} before: {why}"),)


def more_capacity(recipe: Recipe, why: str) -> tuple[Edit, ...]:
    """More layers that train, or less that holds them back where all of them do."""
    strategy = recipe.strategy
    assert not isinstance(strategy, Probe), "a probe has no curve that says so"
    if isinstance(strategy, FewLayers) and strategy.stages + 2 <= MOST_STAGES:
        after = strategy.stages + 2
        return (Edit(key="strategy.stages", value=after, reason=f"{strategy.stages} before: {why}"),)
    if isinstance(strategy, ManyLayers) and strategy.frozen_stages:
        before, fewer = strategy.frozen_stages, max(0, strategy.frozen_stages - 2)
        return (Edit(key="strategy.frozen_stages", value=fewer, reason=f"{before} before: {why}"),)
    if isinstance(strategy, TopStages) and strategy.stages != "all":
        return (Edit(key="strategy.stages", value="all", reason=f"{strategy.stages} before: {why}"),)
    if isinstance(strategy, FewLayers):
        every: dict[str, Any] = {"kind": "all_layers", "batch_norm": strategy.batch_norm}
        return (Edit(key="strategy", value=every, reason=f"few_layers before: {why}"),)
    if recipe.regularization:
        return (Edit(key="regularization", value=None, reason=f"all layers train already; {why}"),)
    return train_longer(recipe, 2, why)
