"""Rules for `name`, `seed`, `data`, `backbone`, `evaluation` and `runtime`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from finetune_advisor.advice.choice import KEEP, Choice
from finetune_advisor.advice.table import TRAINED
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.data.sources.archive import ARCHIVE_SUFFIXES
from finetune_advisor.data.sources.table import TABLE_SUFFIXES

RARE_CLASS_RATIO = 3.0
"""Largest over smallest class from which the question of class weights is worth a sentence."""


def name(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """What runs are called, and the seed."""
    plain = Path(profile.data).resolve().name
    suffix = next((suffix for suffix in (*TABLE_SUFFIXES, *ARCHIVE_SUFFIXES) if plain.lower().endswith(suffix)), "")
    found = re.sub(r"[^\w.-]+", "-", plain[: len(plain) - len(suffix)]).strip("-.") or "run"
    yield Choice("name", found, f"Runs are called runs/{found}-<n>.")
    yield Choice("seed", profile.seed, f"{profile.seed} was the seed of the analysis: the same split and folds.")


def data(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """Where the images are, and how many are held out."""
    images, classes = profile.size.images, len(profile.classes)
    yield Choice("data.path", profile.data, f"{images:,} trainable images in {classes} classes.")
    if cell in TRAINED:
        use = f"{profile.splits['val'].images} images choose the best epoch and take no part in training."
    else:
        use = f"Not used by probes: all {images:,} trainable images are dealt to folds, and then fitted on together."
    yield Choice("data.validation", profile.validation, use)
    if profile.group is not None:
        yield Choice("data.group", profile.group, f"Images with the same {profile.group} never straddle a split.")
    if profile.path_column is not None:
        yield Choice("data.path_column", profile.path_column, "The column with the paths, as given to analyze.")
    if profile.label_column is not None:
        yield Choice("data.label_column", profile.label_column, "The column with the classes, as given to analyze.")
    if profile.merge_classes:
        yield Choice("data.merge_classes", True, f"As given to analyze; it leaves {classes} classes.")
    if profile.class_folders is not None:
        yield Choice("data.class_folders", profile.class_folders, "As given to analyze.")


def class_weights(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """Whether rare classes count as much as common ones."""
    balance = profile.health.imbalance
    if balance.ratio < RARE_CLASS_RATIO:
        reason = f"The largest class has {balance.ratio:.1f} times the images of the smallest: balanced enough."
    else:
        reason = (
            f"{balance.largest} has {balance.ratio:.0f} times the images of {balance.smallest}. Plain accuracy is best "
            "without weights; choose balanced if missing a rare class costs more than a false alarm."
        )
    yield Choice("data.class_weights", None, reason)


def backbone(profile: Profile, cell: Cell) -> Iterator[Choice]:  # noqa: ARG001
    """The network that was measured."""
    yield Choice("backbone.name", profile.backbone, f"{profile.backbone} is the network whose features were measured.")
    yield Choice("backbone.weights", profile.weights, f"The weights it was measured with: {profile.weights}.")


def metric(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """What decides which epoch is best."""
    if cell not in TRAINED:
        return
    ratio = profile.health.imbalance.ratio
    reason = f"Classes differ by a factor of {ratio:.1f} in size: plain accuracy is a fair measure."
    if ratio >= RARE_CLASS_RATIO:
        reason = (
            f"As in the expectation. With {profile.health.imbalance.smallest} {ratio:.0f} times rarer than "
            f"{profile.health.imbalance.largest}, balanced_accuracy asks more of rare classes."
        )
    yield Choice("evaluation.metric", KEEP, reason)


def refit(profile: Profile, cell: Cell) -> Iterator[Choice]:
    """Images that were held out to choose and to judge are not lost to the model."""
    if cell not in TRAINED:
        return
    held_out, images = profile.splits["val"].images, profile.splits["train"].images
    reason = (
        f"Once the {held_out:,} validation images have judged the network, one trains from the start on them too: "
        f"{held_out / images:.0%} more images. Takes as long again; false keeps the network that was judged."
    )
    yield Choice("evaluation.refit", True, reason)
