"""Rules for `name`, `seed`, `data`, `backbone` and `evaluation`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from finetune_advisor.advice.choice import Choice, cite, say, short
from finetune_advisor.images.sources.archive import ARCHIVE_SUFFIXES
from finetune_advisor.images.sources.table import TABLE_SUFFIXES
from finetune_advisor.records.profile import Cell, Profile

RARE_CLASS_RATIO = 3.0
"""Largest over smallest class from which the question of class weights is worth a sentence."""


def name(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """What runs are called, and the seed of the analysis, for the same split and folds."""
    plain = Path(profile.data).resolve().name
    suffix = next((suffix for suffix in (*TABLE_SUFFIXES, *ARCHIVE_SUFFIXES) if plain.lower().endswith(suffix)), "")
    yield Choice("name", re.sub(r"[^\w.-]+", "-", plain[: len(plain) - len(suffix)]).strip("-.") or "run")
    yield Choice("seed", profile.seed)


def data(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Where the images are, how many are held out, and which stay together."""
    yield Choice("data.path", profile.data)
    yield Choice("data.validation", profile.validation)
    if profile.group is not None:
        group = cite(profile, "group")
        yield Choice(
            "data.group", profile.group, say("Images with the same {group} never straddle a split.", group=group)
        )
    if profile.path_column is not None:
        yield Choice("data.path_column", profile.path_column)
    if profile.label_column is not None:
        yield Choice("data.label_column", profile.label_column)
    if profile.merge_classes:
        yield Choice("data.merge_classes", True)
    if profile.class_folders is not None:
        yield Choice("data.class_folders", profile.class_folders)


def class_weights(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """None, which plain accuracy asks for; what that means where a class is rare."""
    balance, reason = profile.health.imbalance, None
    if balance.ratio >= RARE_CLASS_RATIO:
        reason = say(
            "Default of the recipe. {largest} has {ratio:,.0f} times the images of {smallest}: `balanced` counts each "
            "class the same, at the cost of plain accuracy.",
            largest=short(balance.largest),
            ratio=cite(profile, "health.imbalance.ratio"),
            smallest=short(balance.smallest),
        )
    yield Choice("data.class_weights", None, reason)


def backbone(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The network that was measured, with its weights."""
    yield Choice("backbone.name", profile.backbone)
    yield Choice("backbone.weights", profile.weights)


def refit(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Images that were held out to choose and to judge are not lost to the model."""
    reason = say(
        "Set for every data set, not measured on yours: trains again with the validation images. false takes about "
        "half the time and keeps the first network."
    )
    yield Choice("evaluation.refit", True, reason)
