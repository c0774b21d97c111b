"""How fast a network runs on a machine."""

from __future__ import annotations

from finetune_advisor.artifacts.facts import Fact


class Speed(Fact):
    """Measured on a few images where the analysis was made; what the time of a run there follows from."""

    device: str
    forward: dict[str, float]
    """Stage -> seconds an image, first to last; the last one holds the classifier."""
    backward: float
    """Seconds of the backward pass through a stage over those of the forward pass."""
    decoding: float
    """Seconds an image in one process."""
