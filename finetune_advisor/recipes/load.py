"""Recipes as files: shipped ones, what they extend, edits on top, and paths relative to the file.

In a file, `data.path` and the file of `backbone.weights` are relative to its own folder, also where they come from a
recipe that it extends; in a `Recipe` in memory, to where one stands.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from finetune_advisor.errors import Problem, RecipeError, did_you_mean
from finetune_advisor.recipes.dump import Difference, diff_recipes, dump_recipe, is_edited, recipe_schema
from finetune_advisor.recipes.formats import without_removed_keys
from finetune_advisor.recipes.problems import recipe_of
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.recipes.rules import DURATIONS
from finetune_advisor.recipes.yaml import Node, Place, child, parse, tree_of
from finetune_advisor.storage.paths import NO_FILE, absolute, is_relative, path_beside, path_for_file, weights_for_file

log = logging.getLogger(__name__)

_MOST_BYTES = 1_000_000


def shipped_recipes() -> tuple[str, ...]:
    """The names of the recipes to start from that come with this package."""
    return _names_in(_shipped_folder())


def baseline_recipes() -> tuple[str, ...]:
    """The names of what other tools and guides do, rebuilt as recipes to compare with; also shipped."""
    return _names_in(_baselines_folder())


def is_shipped(name: str) -> bool:
    """Whether a recipe of that name comes with this package, to start from or to compare with."""
    return name in shipped_recipes() or name in baseline_recipes()


def shipped_path(name: str) -> Path:
    """The file of a shipped recipe or baseline.

    Raises:
        RecipeError: no recipe of that name is shipped.
    """
    if not is_shipped(name):
        near = did_you_mean(name, (*shipped_recipes(), *baseline_recipes()))
        raise RecipeError([Problem("", f"no recipe named {name!r} is shipped{near}")], _shipped_hint())
    folder = _baselines_folder() if name in baseline_recipes() else _shipped_folder()
    return folder / f"{name}.yaml"


def shipped_purpose(name: str) -> str:
    """When to use a shipped recipe: the first line of its comment, below the command that runs it.

    Raises:
        RecipeError: no recipe of that name is shipped.
    """
    return next(text for text in _opening(name)[1:] if text)


def shipped_measurement(name: str) -> str:
    """What a shipped recipe cost and scored when it was measured, from the end of its comment.

    Raises:
        RecipeError: no recipe of that name is shipped.
    """
    return " ".join(_opening(name)).partition("Cost and score: ")[2]


def _opening(name: str) -> list[str]:
    """The lines of the comment that a shipped recipe opens with."""
    lines = shipped_path(name).read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines)]


def read_recipe_text(source: str | Path) -> str:
    """A recipe as it is written, comments and all.

    Raises:
        RecipeError: a file that cannot be read.
    """
    path, file = _locate(source, Path())
    return _read_text(path, Problem("", "", file), named=isinstance(source, str))


def load_tree(source: str | Path) -> Node:
    """The values of a recipe, on top of those that it extends.

    Raises:
        RecipeError: a file that cannot be read, is not YAML, or extends itself.
    """
    located = _locate(source, Path())
    return _extended(located, Place(located[1]), (), named=isinstance(source, str))


def merge(parent: Node, extension: Node) -> Node:
    """`parent` with the values of `extension` on top.

    Mappings merge key by key, everything else is replaced; so is a technique by one of another kind, and a
    budget's duration by another unit of it.
    """
    if not isinstance(parent.value, dict) or not isinstance(extension.value, dict):
        return extension
    if _changes_kind(parent, extension):
        return extension
    merged = dict(parent.value)
    if any(_is_set(extension, name) for name in DURATIONS):
        merged = {key: node for key, node in merged.items() if key not in DURATIONS}
    for key, node in extension.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, extension.place)


def _changes_kind(parent: Node, extension: Node) -> bool:
    before, after = child(parent, "kind"), child(extension, "kind")
    return before is not None and after is not None and before.value != after.value


def _is_set(node: Node, name: str) -> bool:
    inside = child(node, name)
    return inside is not None and inside.value is not None


def _names_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _baselines_folder() -> Path:
    return _shipped_folder() / "baselines"


def _shipped_folder() -> Path:
    """Inside the wheel, or beside the package where it is installed for editing."""
    package = Path(__file__).parents[1]
    wheel = package / "shipped_recipes"
    return wheel if wheel.is_dir() else package.parent / "recipes"


def _locate(source: str | Path, folder: Path) -> tuple[Path, str]:
    """The file that a name or path means, and what problems call it; a shipped name goes before a file."""
    if isinstance(source, str) and is_shipped(source):
        return shipped_path(source), f"{source} (shipped)"
    path = folder / source
    return path, str(path)


def _extended(located: tuple[Path, str], asked: Place, chain: tuple[Path, ...], *, named: bool = True) -> Node:
    """A file on top of what it extends; `asked` is where a person named the file, `chain` who extends it.

    Where it was not `named` it is the file of a run, and no other recipe would do.
    """
    path, file = located
    key = "extends" if chain else ""
    text = _read_text(path, Problem(key, "", asked.file, asked.line), named=named)
    tree = parse(text, file)
    if not isinstance(tree.value, dict):
        found = "nothing" if tree.value is None else "a list" if isinstance(tree.value, tuple) else "a single value"
        raise RecipeError([Problem("", f"expected the keys of a recipe, found {found}", file)])
    extends = child(tree, "extends")
    if extends is None:
        return tree
    own = Node({key: node for key, node in tree.value.items() if key != "extends"}, tree.place)
    return merge(_parent(extends, path, (*chain, path.resolve())), own)


def _parent(extends: Node, path: Path, chain: tuple[Path, ...]) -> Node:
    place = extends.place
    if not isinstance(extends.value, str):
        message = "expected the name of a shipped recipe or a file"
        raise RecipeError([Problem("extends", message, place.file, place.line)])
    located = _locate(extends.value, path.parent)
    if located[0].resolve() in chain:
        circle = " -> ".join(link.name for link in (*chain, located[0]))
        raise RecipeError([Problem("extends", f"goes around in a circle: {circle}", place.file, place.line)])
    return _extended(located, place, chain)


def _read_text(path: Path, problem: Problem, *, named: bool) -> str:
    """The text of a recipe file; `problem` is where a person asked for it."""
    it = f"{path} " if problem.key else ""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _unusable(problem, f"{it}is larger than 1 MB, expected a recipe")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        if not named:
            hint = "It is the recipe of a run, which is not whole without it."
            raise _unusable(problem, "does not exist", hint) from error
        near = did_you_mean(path.stem, (*shipped_recipes(), *baseline_recipes()))
        message = f"{it}does not exist, and no recipe of that name is shipped{near}"
        raise _unusable(problem, message, _shipped_hint()) from error
    except IsADirectoryError as error:
        raise _unusable(problem, f"{it}is a folder, expected a recipe file") from error
    except UnicodeDecodeError as error:
        raise _unusable(problem, f"{it}is not text in UTF-8, expected a recipe in YAML") from error
    except OSError as error:
        raise _unusable(problem, f"{it}cannot be read: {error.strerror}") from error


def _unusable(problem: Problem, message: str, hint: str | None = None) -> RecipeError:
    return RecipeError([replace(problem, message=message)], hint)


def _shipped_hint() -> str:
    names = ", ".join(shipped_recipes())
    return f"Shipped recipes: {names}. `finetune-advisor recipes list` says what each is for."


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
