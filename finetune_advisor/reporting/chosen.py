"""Which of the measured probes a recipe fits."""

from __future__ import annotations

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe

TOP = "pooled"
"""The probe on what the network's own classifier sees."""


def chosen_stages(recipe: Recipe) -> tuple[str, ...]:
    """Names of the probes in a profile; empty for a recipe that trains layers."""
    strategy = recipe.strategy
    if isinstance(strategy, LinearProbe):
        return (TOP,)
    if isinstance(strategy, StageProbe):
        return ("all",) if strategy.stages == "all" else strategy.stages
    return ()
