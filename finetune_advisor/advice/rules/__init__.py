"""Every decision of the advice: small functions from a placed profile to choices, each with its reason.

A choice is a recipe key, its value, and the reason with the figures that decided; see `advice/choice.py`. The reason
becomes the comment above the line in recipe.yaml. What is the shipped recipe's whatever the data says has no choice
here: the key's meaning then stands beside it. Rules only read the profile; nothing here looks at images, and none of it
rests on test images.
"""

from __future__ import annotations

from finetune_advisor.advice.choice import KEEP, Choice, Rule
from finetune_advisor.advice.rules.augmentation import augmentation
from finetune_advisor.advice.rules.data import backbone, class_weights, data, name, refit
from finetune_advisor.advice.rules.preprocessing import fit, size, value_range
from finetune_advisor.advice.rules.regularization import dropout, weight_decay
from finetune_advisor.advice.rules.strategy import depth, head, strategy, strengths
from finetune_advisor.advice.rules.training import batch, cached_views, epochs, rates
from finetune_advisor.advice.table import TRAINED
from finetune_advisor.records.profile import Cell, Profile

__all__ = ["KEEP", "Choice", "choices"]

ALWAYS: tuple[Rule, ...] = (name, data, class_weights, backbone, size, fit, value_range, strategy, depth)
"""Rules for every recipe, in the order of its keys."""

FOR_PROBES: tuple[Rule, ...] = (strengths,)

FOR_TRAINING: tuple[Rule, ...] = (
    cached_views,
    head,
    augmentation,
    weight_decay,
    dropout,
    rates,
    batch,
    epochs,
    refit,
)


def choices(profile: Profile, cell: Cell) -> tuple[Choice, ...]:
    """All choices for a placed profile and a cell, in the order of the recipe.

    Args:
        profile: placed in the table.
        cell: whose recipe is written.
    """
    rules = (*ALWAYS, *(FOR_TRAINING if cell in TRAINED else FOR_PROBES))
    return tuple(choice for rule in rules for choice in rule(profile, cell))
