"""YAML text to a tree that remembers on which line each value stands.

The YAML is what people expect of it: `1e-5` is a number, `no` and `2024-01-01` are text, a key that stands twice
is an error, and tags are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from finetune_advisor.errors import Problem, RecipeError

Scalar: TypeAlias = str | int | float | bool | None
Key: TypeAlias = tuple[str | int, ...]

_MOST_VALUES = 10_000
_CONSTANTS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)")
_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written."""

    file: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; mappings and lists hold nodes."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    place: Place


class _Loader(yaml.SafeLoader):
    """Composes nodes and resolves nothing by itself, so that every tag in a node was written by a person."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


def parse(text: str, file: str, *, numbered: bool = True) -> Node:
    """The tree of one YAML document.

    Args:
        text: the document.
        file: what problems call it.
        numbered: whether its lines mean anything to a person.

    Raises:
        RecipeError: it is not YAML, a key stands twice, or a value has a tag.
    """
    reader = _Reader(file, numbered)
    try:
        root = yaml.compose(text, _Loader)
        tree = Node(None, Place(file)) if root is None else reader.read(root, Place(file))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sentence = ", ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark and numbered else None
        raise RecipeError([Problem("", f"not YAML: {sentence}", file, line)]) from error
    except yaml.reader.ReaderError as error:
        raise RecipeError([Problem("", f"not text: {error.reason}", file)]) from error
    except RecursionError as error:
        raise RecipeError([Problem("", "nested far too deeply for a recipe", file)]) from error
    if reader.problems:
        raise RecipeError(reader.problems)
    return tree


def plain(node: Node) -> Any:
    """The values of a tree without their places; lists become tuples."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    if isinstance(node.value, tuple):
        return tuple(plain(item) for item in node.value)
    return node.value


def place_of(node: Node, key: Key) -> Place:
    """The place of a key, or of the closest thing around it that was written."""
    for part in key:
        inside = child(node, part)
        if inside is None:
            break
        node = inside
    return node.place


def child(node: Node, part: str | int) -> Node | None:
    """The value under a name or an index, if there is one."""
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    if isinstance(node.value, tuple) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part]
    return None


def tree_of(value: Any, place: Place) -> Node:
    """A tree of plain values that all stand at one place."""
    if isinstance(value, Mapping):
        return Node({key: tree_of(item, place) for key, item in value.items()}, place)
    if isinstance(value, (tuple, list)):
        return Node(tuple(tree_of(item, place) for item in value), place)
    return Node(value, place)


def scalar(text: str) -> Scalar:
    """What a word without quotes means."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.fullmatch(text) and len(text) < 1000:
        return int(text)
    if _FLOAT.fullmatch(text.lower()):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Reader:
    """Turns PyYAML's nodes into ours, collecting every problem on the way."""

    def __init__(self, file: str, numbered: bool) -> None:
        self.file = file
        self.numbered = numbered
        self.problems: list[Problem] = []
        self.values = 0

    def read(self, node: yaml.Node, place: Place, key: str = "") -> Node:
        self._count()
        if node.tag not in _TAGS:
            self._problem(key, f"recipes hold plain values, found the tag {node.tag}", node)
            return Node(None, place)
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, key), place)
        if isinstance(node, yaml.SequenceNode):
            items = (
                self.read(item, self._place(item), f"{key}.{index}".lstrip("."))
                for index, item in enumerate(node.value)
            )
            return Node(tuple(items), place)
        assert isinstance(node, yaml.ScalarNode)
        return Node(node.value if node.style else scalar(node.value), place)

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Node]:
        values: dict[str, Node] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self._problem(key, "expected a name before the colon, found a list or a mapping", name_node)
                continue
            name, place = name_node.value, self._place(name_node)
            dotted = f"{key}.{name}".lstrip(".")
            if name in values:
                first = values[name].place.line
                self._problem(
                    dotted,
                    f"stands twice; it is on line {first} already" if first else "stands twice",
                    name_node,
                )
            values[name] = self.read(value_node, place, dotted)
        return values

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1 if self.numbered else None)

    def _problem(self, key: str, message: str, node: yaml.Node) -> None:
        self.problems.append(Problem(key, message, self.file, self._place(node).line))

    def _count(self) -> None:
        """Aliases may repeat each other into billions of values, or for ever."""
        self.values += 1
        if self.values > _MOST_VALUES:
            raise RecipeError([Problem("", f"more than {_MOST_VALUES} values, expected a recipe", self.file)])
