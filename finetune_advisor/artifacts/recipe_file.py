"""Recipes as files: read with every problem at once, written with their reasons.

In a file, `data.path` and the file of `backbone.weights` are relative to its own folder, also where they come from a
recipe that it extends; in a `Recipe` in memory, to where one stands.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune_advisor.artifacts.paths import (
    NO_FILE,
    absolute,
    is_relative,
    path_beside,
    path_for_file,
    weights_for_file,
)
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_diff import Difference, diff_recipes, recipe_schema
from finetune_advisor.artifacts.recipe_dump import dump_recipe, is_edited
from finetune_advisor.artifacts.recipe_edits import COMMAND_LINE, edit, set_values
from finetune_advisor.artifacts.recipe_formats import without_removed_keys
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
from finetune_advisor.artifacts.recipe_yaml import Node, Place, child, tree_of
from finetune_advisor.errors import Problem, RecipeError

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
    "recipe_for_file",
    "recipe_schema",
    "shipped_path",
    "shipped_purpose",
    "shipped_recipes",
]


_PLACES: dict[tuple[str, str], tuple[str, ...]] = {("data", "path"): (), ("backbone", "weights"): NO_FILE}
"""Keys that hold a path, and what they say where they hold none."""

log = logging.getLogger(__name__)


def load_recipe(source: str | Path, overrides: Sequence[str] = (), *, as_written: bool = False) -> Recipe:
    """Read a recipe, what it extends, and edits like `optimizer.lr=0.01` on top.

    Relative paths in the file are relative to its folder, those of a shipped recipe and of `overrides` to where one
    stands. A path that is there from where one stands alone, as older versions had it, is taken with a warning.

    Args:
        source: the name of a shipped recipe or a file; a `Path` is always a file.
        overrides: KEY=VALUE with VALUE in YAML.
        as_written: leave paths as they are in the file, whatever they lead to.

    Raises:
        RecipeError: every problem, each with its dotted key, file and line; or a path that leads to two things, one
            from the file's folder and one from where one stands.
    """
    tree, dropped = without_removed_keys(edit(load_tree(source), overrides))
    if dropped:
        log.warning("The recipe has keys of an earlier version that no longer exist: %s.", ", ".join(dropped))
    if not as_written and not (isinstance(source, str) and is_shipped(source)):
        tree = _seen_from_here(tree, Path(source).parent)
    return recipe_of(tree)


def recipe_for_file(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe with its paths as they are to be written into a file in `folder`."""
    path, weights = path_for_file(recipe.data.path, folder), weights_for_file(recipe.backbone.weights, folder)
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"path": path}),
            "backbone": recipe.backbone.model_copy(update={"weights": weights}),
        }
    )


def change_recipe(recipe: Recipe, values: Mapping[str, object]) -> Recipe:
    """A copy of a recipe with other values, by dotted key.

    Raises:
        RecipeError: every edit that leads nowhere or to a recipe that cannot be used.
    """
    return recipe_of(set_values(tree_of(recipe.model_dump(), Place(recipe.name)), values))


def _seen_from_here(tree: Node, folder: Path) -> Node:
    """The tree of a recipe file in `folder`, its relative paths as they are called from where one stands.

    Raises:
        RecipeError: one of them leads to two things.
    """
    for (family, name), words in _PLACES.items():
        outer = child(tree, family)
        node = child(outer, name) if outer else None
        if outer is None or node is None or not isinstance(node.value, str) or node.value in words:
            continue
        if node.place.file == COMMAND_LINE or not is_relative(node.value):
            continue
        found = Node(_chosen(f"{family}.{name}", node.value, folder, node.place), node.place)
        assert isinstance(outer.value, dict) and isinstance(tree.value, dict), "both have a key"
        tree = Node({**tree.value, family: Node({**outer.value, name: found}, outer.place)}, tree.place)
    return tree


def _chosen(key: str, text: str, folder: Path, place: Place) -> str:
    """What a relative path in a recipe file leads to: something beside the file, or else where one stands.

    Raises:
        RecipeError: there is something at both, and not the same.
    """
    beside, here = path_beside(text, folder), str(absolute(text))
    if beside == text or not Path(here).exists():
        return beside
    if not Path(beside).exists():
        log.warning(
            "%s: there is no %s beside the recipe, so %s is used. Paths in a recipe are relative to its own folder: "
            "write `%s: %s` there.",
            key, text, here, key.partition(".")[2], path_for_file(text, folder),
        )  # fmt: skip
        return text
    if Path(beside).samefile(here):
        return beside
    message = f"{text!r} is relative to the recipe's folder, which means {beside}; there is also {here}"
    hint = f"Say which one: --set {key}={beside} or --set {key}={here}. A full path in the recipe settles it."
    raise RecipeError([Problem(key, message, place.file, place.line)], hint)
