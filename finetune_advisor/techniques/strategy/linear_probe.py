"""Little data that looks like the pretraining data."""

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
