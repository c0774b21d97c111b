"""Recipes of earlier versions: keys that are gone are dropped where they were off, and refused where they were not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_advisor.artifacts.recipe_yaml import Node, child, plain
from finetune_advisor.errors import Problem, RecipeError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """A key that recipes of earlier versions may hold."""

    key: str
    """Family and name, as in `runtime.augment_on`."""
    idle: tuple[object, ...]
    """Values that had no effect, or that now are what always happens."""
    instead: str
    """Why any other value is refused, and what to write instead."""


REMOVED: Sequence[RemovedKey] = ()


def without_removed_keys(tree: Node, removed: Sequence[RemovedKey] = REMOVED) -> Node:
    """A tree without the keys that are gone; one note names all that were dropped.

    Raises:
        RecipeError: keys that are gone and had an effect, with what to write instead.
    """
    dropped: list[str] = []
    problems: list[Problem] = []
    for gone in removed:
        family, _, name = gone.key.partition(".")
        outer = child(tree, family)
        node = child(outer, name) if outer is not None and isinstance(outer.value, dict) else None
        if outer is None or node is None:
            continue
        if plain(node) not in gone.idle:
            problems.append(Problem(gone.key, f"removed: {gone.instead}", node.place.file, node.place.line))
            continue
        assert isinstance(tree.value, dict) and isinstance(outer.value, dict), "both have a key"
        rest = {key: value for key, value in outer.value.items() if key != name}
        tree = Node({**tree.value, family: Node(rest, outer.place)}, tree.place)
        dropped.append(gone.key)
    if problems:
        raise RecipeError(problems)
    if dropped:
        log.warning("The recipe has keys of an earlier version that no longer exist: %s.", ", ".join(dropped))
    return tree
