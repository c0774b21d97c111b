"""The recipes of regret.py and the order they are run in; what a line is."""

from __future__ import annotations

from typing import Any

ANALYZE, ADVISED = "analyze", "advised/"
"""Lines that are no runs of a shipped recipe: the analysis and the recipes that `advise` writes."""

ROUNDS: tuple[tuple[str, ...], ...] = (
    (ANALYZE, "linear_probe", "stage_probe", "advised/linear_probe", "advised/stage_probe", "top_layer_probe"),
    ("few_layers", "fastai_fine_tune"),
    ("advised/few_layers", "advised/many_layers", "many_layers"),
    ("probe_then_fine_tune", "all_layers"),
    ("tenth_of_the_rate", "autogluon"),
    ("keras_two_stages", "bit_hyperrule"),
)
"""What tells most comes first, so that a benchmark that is cut short has it for all tasks."""

RECIPES = tuple(name for names in ROUNDS for name in names if name != ANALYZE)

Line = dict[str, Any]


def key_of(line: Line) -> tuple[str, int, str]:
    """What is run once: a recipe on a task with a seed."""
    return line["task"], line["seed"], line["recipe"]
