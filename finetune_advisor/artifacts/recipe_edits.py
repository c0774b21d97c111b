"""Edits like `optimizer.lr=0.01`, `schedule.kind=cosine` and `augmentation.0.scale=[0.5, 1]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from finetune_advisor.artifacts.recipe_sources import merge
from finetune_advisor.artifacts.recipe_yaml import Node, Place, child, parse, tree_of
from finetune_advisor.errors import Problem, RecipeError

COMMAND_LINE = "--set"
"""What problems call the file of an edit."""

_Edit = tuple[tuple[str, ...], Node]


def edit(tree: Node, overrides: Sequence[str]) -> Node:
    """A tree with each `KEY=VALUE` merged into it, VALUE in YAML.

    An item of a list is named by its index or by its kind. A change of kind comes first, whatever the order on the
    command line, because it drops the keys of the old kind.

    Raises:
        RecipeError: every edit that is not KEY=VALUE or leads nowhere.
    """
    edits: list[_Edit] = []
    problems: list[Problem] = []
    for override in overrides:
        try:
            edits.append(_parse(override))
        except RecipeError as error:
            problems += error.problems
    return _apply(tree, edits, problems)


def set_values(tree: Node, values: Mapping[str, object]) -> Node:
    """The same for plain values by dotted key.

    Raises:
        RecipeError: every key that leads nowhere.
    """
    place = Place(COMMAND_LINE)
    return _apply(tree, [(tuple(key.split(".")), tree_of(value, place)) for key, value in values.items()], [])


def _apply(tree: Node, edits: Sequence[_Edit], problems: list[Problem]) -> Node:
    for key, value in sorted(edits, key=lambda edit: edit[0][-1] != "kind"):
        try:
            tree = merge(tree, _extension(tree, key, value, done=()))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
    return tree


def _parse(override: str) -> _Edit:
    name, equals, text = override.partition("=")
    key = tuple(part.strip() for part in name.split("."))
    if not equals or not all(key):
        raise _refusal("", f"expected KEY=VALUE like optimizer.lr=0.01, found {override!r}")
    if key == ("extends",):
        raise _refusal(name, "belongs in a file; on the command line, name that recipe itself")
    try:
        return key, parse(text, COMMAND_LINE, numbered=False)
    except RecipeError as error:
        raise RecipeError([replace(problem, key=name) for problem in error.problems]) from error


def _extension(node: Node, key: tuple[str, ...], value: Node, done: tuple[str, ...]) -> Node:
    """What to merge into `node`, found at `done`, so that `value` stands at `key` inside it."""
    if not key:
        return value
    part, rest = key[0], key[1:]
    if isinstance(node.value, tuple):
        index = _index(node.value, part, done)
        item = node.value[index]
        items = list(node.value)
        items[index] = merge(item, _extension(item, rest, value, (*done, part)))
        return Node(tuple(items), node.place)
    if node.value is None or isinstance(node.value, dict):
        inside = child(node, part) or Node(None, Place(COMMAND_LINE))
        return Node({part: _extension(inside, rest, value, (*done, part))}, node.place)
    raise _refusal(".".join((*done, *key)), f"`{'.'.join(done)}` is a single value and has no keys")


def _index(items: tuple[Node, ...], part: str, done: tuple[str, ...]) -> int:
    kinds = [kind.value if (kind := child(item, "kind")) else None for item in items]
    if part in kinds:
        return kinds.index(part)
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    names = ", ".join(f"{index} ({kind})" if kind else str(index) for index, kind in enumerate(kinds))
    raise _refusal(".".join((*done, part)), f"no such item; `{'.'.join(done)}` holds {names or 'none'}")


def _refusal(key: str, message: str) -> RecipeError:
    return RecipeError([Problem(key, message, COMMAND_LINE)])
