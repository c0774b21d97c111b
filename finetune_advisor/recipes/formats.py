"""Recipes of earlier versions: keys that are gone are dropped where they were off, and refused where they were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune_advisor.errors import Problem, RecipeError
from finetune_advisor.recipes.yaml import Node, child, plain


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """A key that recipes of earlier versions may hold."""

    key: str
    """Family and name, as in `runtime.augment_on`."""
    idle: tuple[object, ...]
    """Values that had no effect, or that now are what always happens."""
    instead: str
    """Why any other value is refused, and what to write instead."""


KINDS_OF_ENSEMBLES = "it gained nothing that was measured; choose seeds, cross_validation or checkpoints."

REMOVED: Sequence[RemovedKey] = (
    RemovedKey(
        "runtime.augment_on",
        ("cpu",),
        "no measurement showed it to be faster; the processes that decode images change them. Leave it out.",
    ),
)
REMOVED_VALUES: Mapping[tuple[str, object], str] = {
    ("ensemble.kind", kind): KINDS_OF_ENSEMBLES for kind in ("soup", "ten_crop", "multi_scale")
}
"""(key, value) -> why it is gone, and what to write instead."""


def without_removed_keys(tree: Node, removed: Sequence[RemovedKey] = REMOVED) -> tuple[Node, tuple[str, ...]]:
    """A tree without the keys that are gone, and which ones were dropped.

    Raises:
        RecipeError: keys that are gone and had an effect, with what to write instead.
    """
    dropped: list[str] = []
    problems: list[Problem] = []
    for gone in removed:
        family, _, name = gone.key.partition(".")
        outer, node = _at(tree, gone.key)
        if outer is None or node is None:
            continue
        if plain(node) not in gone.idle:
            problems.append(Problem(gone.key, f"removed: {gone.instead}", node.place.file, node.place.line))
            continue
        assert isinstance(tree.value, dict) and isinstance(outer.value, dict), "both have a key"
        rest = {key: value for key, value in outer.value.items() if key != name}
        tree = Node({**tree.value, family: Node(rest, outer.place)}, tree.place)
        dropped.append(gone.key)
    for (key, value), instead in REMOVED_VALUES.items():
        node = _at(tree, key)[1]
        if node is not None and plain(node) == value:
            problems.append(Problem(key, f"{value} is removed: {instead}", node.place.file, node.place.line))
    if problems:
        raise RecipeError(problems)
    return tree, tuple(dropped)


def _at(tree: Node, key: str) -> tuple[Node | None, Node | None]:
    """The family of a dotted key and the value under it, as far as they are there."""
    family, _, name = key.partition(".")
    outer = child(tree, family)
    return outer, child(outer, name) if outer is not None and isinstance(outer.value, dict) else None
