"""Strategies for little data: linear classifiers on a network that stays as it is."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.strategy.base import STRENGTHS, Probe, Strengths


class LinearProbe(Probe):
    """Fit a linear classifier on the frozen network's last features.

    For few images that look like those of the pretraining: it takes seconds and has little to overfit with.
    """

    source: ClassVar[str] = "slides: fine-tune (little, similar data: use linear classifier on top layer)"
    advised: ClassVar[str] = "In its cell of the table: few images per class that look like ImageNet."

    kind: Literal["linear_probe"] = "linear_probe"
    strengths: Strengths = STRENGTHS
    """L2 strengths to choose from, on folds of the training images."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts the training images are dealt into for that choice."""


StageNames = Annotated[tuple[str, ...], Field(min_length=1)]


class StageProbe(Probe):
    """Fit a linear classifier on features of several stages of the frozen network.

    Early stages see textures and edges, which are of use where the last stage's objects are not.
    """

    measured: ClassVar[str] = (
        "All stages joined against a plain linear classifier on the last features: 0.980 and 0.967 on food, 0.894 and "
        "0.889 on ten textures, 0.928 and 0.941 on ants and bees, one run each (benchmarks/results/beside_others.md)."
    )
    source: ClassVar[str] = "slides: fine-tune (little, different data: try linear classifier from different stages)"
    advised: ClassVar[str] = (
        "In its cell of the table: few images per class that look different; all stages joined, unless one "
        "alone is clearly better."
    )

    kind: Literal["stage_probe"] = "stage_probe"
    stages: Literal["all"] | StageNames = "all"
    """Whose features are joined: all, or a list of stage names."""
    strengths: Strengths = STRENGTHS
    """L2 strengths to choose from, on folds of the training images."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts the training images are dealt into for that choice."""
