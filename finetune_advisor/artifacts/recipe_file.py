"""Recipes as files: read with every problem at once, written with their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_diff import Difference, diff_recipes, recipe_schema
from finetune_advisor.artifacts.recipe_dump import dump_recipe, is_edited
from finetune_advisor.artifacts.recipe_edits import edit, set_values
from finetune_advisor.artifacts.recipe_problems import recipe_of
from finetune_advisor.artifacts.recipe_sources import (
    baseline_recipes,
    is_shipped,
    load_tree,
    read_recipe_text,
    shipped_path,
    shipped_purpose,
    shipped_recipes,
)
from finetune_advisor.artifacts.recipe_yaml import Place, tree_of

__all__ = [
    "Difference",
    "baseline_recipes",
    "change_recipe",
    "diff_recipes",
    "dump_recipe",
    "is_edited",
    "is_shipped",
    "load_recipe",
    "read_recipe_text",
    "recipe_schema",
    "shipped_path",
    "shipped_purpose",
    "shipped_recipes",
]


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, what it extends, and edits like `optimizer.lr=0.01` on top.

    Args:
        source: the name of a shipped recipe or a file; a `Path` is always a file.
        overrides: KEY=VALUE with VALUE in YAML.

    Raises:
        RecipeError: every problem, each with its dotted key, file and line.
    """
    return recipe_of(edit(load_tree(source), overrides))


def change_recipe(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """A copy of a recipe with other values, by dotted key.

    Raises:
        RecipeError: every edit that leads nowhere or to a recipe that cannot be used.
    """
    return recipe_of(set_values(tree_of(recipe.model_dump(), Place(recipe.name)), values))
