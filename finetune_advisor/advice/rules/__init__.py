"""Every decision of the advice: small functions from a placed profile to choices, each with its reason.

A choice is a recipe key, its value, and the reason with the numbers behind it. The reason becomes the comment above the
line in recipe.yaml. Rules only read the profile; nothing here looks at images, and none of it rests on test images.
"""

from __future__ import annotations

from finetune_advisor.advice.choice import KEEP, Choice, Rule
from finetune_advisor.advice.rules.augmentation import augmentation
from finetune_advisor.advice.rules.data import backbone, class_weights, data, metric, name, refit
from finetune_advisor.advice.rules.left_off import activation, averaging, ensemble, hidden, mixing
from finetune_advisor.advice.rules.preprocessing import fit, scale, size, value_range
from finetune_advisor.advice.rules.regularization import dropout, label_smoothing, loss, weight_decay
from finetune_advisor.advice.rules.strategy import batch_norm, depth, folds, head, strategy
from finetune_advisor.advice.rules.training import batch, cached_views, epochs, optimizer, rates, schedule
from finetune_advisor.advice.table import TRAINED
from finetune_advisor.artifacts.profile import Cell, Profile

__all__ = ["KEEP", "Choice", "choices"]

ALWAYS: tuple[Rule, ...] = (
    name,
    data,
    class_weights,
    backbone,
    activation,
    scale,
    size,
    fit,
    value_range,
    strategy,
    depth,
)
"""Rules for every recipe, in the order of its keys."""

FOR_PROBES: tuple[Rule, ...] = (folds,)

FOR_TRAINING: tuple[Rule, ...] = (
    batch_norm,
    cached_views,
    head,
    hidden,
    augmentation,
    mixing,
    loss,
    label_smoothing,
    weight_decay,
    dropout,
    optimizer,
    rates,
    batch,
    schedule,
    epochs,
    averaging,
)

AT_THE_END: tuple[Rule, ...] = (ensemble, metric, refit)


def choices(profile: Profile, cell: Cell) -> tuple[Choice, ...]:
    """All choices for a placed profile and a cell, in the order of the recipe.

    Args:
        profile: placed in the table.
        cell: whose recipe is written.
    """
    rules = (*ALWAYS, *(FOR_TRAINING if cell in TRAINED else FOR_PROBES), *AT_THE_END)
    return tuple(choice for rule in rules for choice in rule(profile, cell))
