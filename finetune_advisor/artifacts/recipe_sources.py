"""From a name or a path to the tree of values: shipped recipes and `extends`."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from finetune_advisor.artifacts.recipe_rules import DURATIONS
from finetune_advisor.artifacts.recipe_yaml import Node, Place, child, parse
from finetune_advisor.errors import Problem, RecipeError, did_you_mean

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
