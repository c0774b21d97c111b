"""Policies that no type checker knows: what is loaded when, what may be imported where, what scripts rely on."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer.main

import finetune_advisor
from finetune_advisor.cli import app
from finetune_advisor.recipes.load import load_recipe, shipped_path, shipped_recipes
from finetune_advisor.records.profile import Cell
from finetune_advisor.techniques.strategy import Probe

PACKAGE = Path(finetune_advisor.__file__).parent

HEAVY = {"torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib"}
"""What takes seconds to import."""

LIGHT_PACKAGES = ("cli", "records", "recipes", "storage", "advice", "techniques", "diagnosis", "reporting")
"""Where heavy imports stand inside functions, so that help and checks of a recipe answer at once."""

MOST_LINES = 600

COMMANDS = {
    "analyze": None,
    "backbones": None,
    "compare": None,
    "demo": None,
    "diagnose": None,
    "doctor": None,
    "ensemble": None,
    "evaluate": None,
    "export": None,
    "predict": None,
    "recipes": ["copy", "diff", "list", "preview", "schema", "show", "validate"],
    "report": None,
    "run": None,
    "techniques": None,
}
"""Scripts rely on these names: add freely, here too; rename only with a deprecation."""


def loaded_by(script: str, folder: Path) -> set[str]:
    """The heavy packages that a fresh process has loaded at the end of a script."""
    ending = "\nimport json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", script + ending], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return HEAVY & set(json.loads(result.stderr.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    assert (
        loaded_by("import finetune_advisor; finetune_advisor.load_recipe, finetune_advisor.Profile", tmp_path) == set()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["analyze", "--help"],
        ["run", "--help"],
        ["diagnose", "--help"],
        ["recipes", "validate", "few_layers"],
    ],
    ids=" ".join,
)
def test_help_and_checks_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    script = f"""
from finetune_advisor.cli import app
try:
    app({arguments!r}, prog_name="finetune-advisor")
except SystemExit as end:
    assert not end.code, end.code
"""
    assert loaded_by(script, tmp_path) == set()


def modules(*folders: str) -> list[Path]:
    places = [PACKAGE / folder for folder in folders] if folders else [PACKAGE]
    return sorted(path for place in places for path in place.rglob("*.py"))


def module_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement that runs on import: not what is in functions, nor what only type checkers see."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            for_types_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or for_types_only:
                continue
            if isinstance(node, ast.stmt):
                yield node
            waiting.append(node)


def imported(statement: ast.stmt) -> set[str]:
    """Top-level names of the packages that a statement imports."""
    if isinstance(statement, ast.Import):
        return {alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom) and statement.module:
        return {statement.module.partition(".")[0]}
    return set()


def test_the_walk_sees_imports_on_import_and_no_others() -> None:
    source = """
import os.path
if TYPE_CHECKING:
    import torch
try:
    from timm import models
except ImportError: pass
class A:
    import json
    def f(self): import sklearn
"""
    found = {name for statement in module_level(ast.parse(source)) for name in imported(statement)}
    assert found == {"os", "timm", "json"}


@pytest.mark.parametrize("path", modules(*LIGHT_PACKAGES), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_imports_stand_inside_functions(path: Path) -> None:
    if path.stem.endswith("_modules"):
        return  # beside a technique: the module classes that its seam imports
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {name: statement.lineno for statement in module_level(tree) for name in imported(statement) & HEAVY}
    assert not found, f"move into the function that needs it: {found}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short_enough_to_read_and_named_for_what_is_in_them(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{lines} lines: find the two things in it"
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert not path.stem.endswith("_helpers")


def test_the_layers_in_the_docs_are_those_that_are_enforced() -> None:
    root = PACKAGE.parent
    if not (root / "docs").is_dir():
        pytest.skip("these tests do not lie in a checkout")
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = [line.partition("  ")[0].strip() for line in page.split("```")[3].strip().splitlines()]
    assert listed == layers


def test_the_commands_are_those_that_scripts_rely_on() -> None:
    group = typer.main.get_command(app)
    found = {
        name: sorted(command.commands) if hasattr(command, "commands") else None
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert found == COMMANDS


def test_every_command_says_what_it_does() -> None:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        for below, inner in getattr(command, "commands", {}).items():
            assert inner.help, f"{name} {below}"


def test_the_public_names_resolve_and_are_documented() -> None:
    assert sorted(finetune_advisor.__all__) == sorted([*finetune_advisor._HOME, "__version__"])
    for name in finetune_advisor.__all__:
        value = getattr(finetune_advisor, name)
        if name != "__version__":
            assert value.__doc__ and value.__doc__.strip(), name
            assert value.__module__ == f"finetune_advisor.{finetune_advisor._HOME[name]}", "its home, not a way station"


def test_a_public_name_of_version_0_1_still_resolves() -> None:
    with pytest.warns(DeprecationWarning, match="finetune_advisor.ExportForm now"):
        from finetune_advisor.artifacts.export_form import ExportForm
    assert ExportForm is finetune_advisor.ExportForm


def test_an_unknown_name_is_an_attribute_error_as_everywhere() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'analyse'"):
        finetune_advisor.analyse  # noqa: B018


def test_every_cell_of_the_table_has_a_shipped_recipe() -> None:
    assert set(get_args(Cell)) <= set(shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_called_by_their_name(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    if name in get_args(Cell):
        assert recipe.strategy.kind == name


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_probes_try_the_strengths_that_were_measured(name: str) -> None:
    """`analyze` measures with the technique's defaults; a run has to repeat what was measured."""
    strategy = load_recipe(name).strategy
    if isinstance(strategy, Probe):
        default = type(strategy)()
        assert (strategy.strengths, strategy.folds) == (default.strengths, default.folds)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_open_with_command_use_cost_and_score(name: str) -> None:
    opening = shipped_path(name).read_text(encoding="utf-8").partition("\nformat:")[0]
    assert opening.startswith(f"# finetune-advisor run {name} --set data.path=")
    assert re.search(r"# Cost and score: .*: 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] on \d+ test images", opening)
    assert "TODO" not in opening
