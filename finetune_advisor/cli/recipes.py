"""`finetune-advisor recipes`: list, show, copy, validate, compare."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from finetune_advisor.cli.console import out, set_up_logging
from finetune_advisor.cli.options import Verbosity
from finetune_advisor.errors import RecipeError, StorageError

recipes_app = typer.Typer(
    no_args_is_help=True, help="Recipes: YAML files that say how a network is trained. Start from a shipped one."
)

Source = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@recipes_app.command("list")
def list_recipes(as_json: AsJson = False) -> None:
    """The recipes that come with the tool, to start from or, as baselines, to compare with."""
    from finetune_advisor.recipes.load import baseline_recipes, shipped_path, shipped_purpose, shipped_recipes

    parts = {"recipe": ("when", shipped_recipes()), "baseline": ("what others do", baseline_recipes())}
    if as_json:
        rows = [
            {"name": name, "kind": kind, "purpose": shipped_purpose(name), "path": str(shipped_path(name))}
            for kind, (_, names) in parts.items()
            for name in names
        ]
        out.print_json(data=rows)
        return
    for kind, (about, names) in parts.items():
        table = Table(kind, about)
        for name in names:
            table.add_row(escape(name), escape(shipped_purpose(name)))
        out.print(table)


@recipes_app.command("show")
def show(source: Source, as_json: AsJson = False) -> None:
    """Print a recipe with its comments; with --json, its values and those of what it extends."""
    from finetune_advisor.recipes.load import load_recipe, read_recipe_text

    if as_json:
        out.print_json(data=load_recipe(source, as_written=True).model_dump())
    else:
        out.out(read_recipe_text(source), end="", highlight=False)


@recipes_app.command("copy")
def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; a folder is fine.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Copy a shipped recipe, comments and all, to make it your own."""
    from finetune_advisor.recipes.load import shipped_path
    from finetune_advisor.storage.files import atomic_write

    text = shipped_path(name).read_bytes()
    target = file / f"{name}.yaml" if file.is_dir() else file
    if target.exists() and not force:
        raise StorageError(f"{target} is there already", "Give another name, or `--force` to overwrite it.")
    atomic_write(target, text)
    command = f"finetune-advisor run {shlex.quote(str(target))}"
    out.print(escape(f"{target}: a copy of {name}; edit it, then: {command}"), soft_wrap=True)


@recipes_app.command("validate")
def validate(source: Source, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a recipe without any image or network: exit code 1 and every problem if it cannot be used."""
    from dataclasses import asdict

    from finetune_advisor.recipes.load import load_recipe

    try:
        recipe = load_recipe(source, overrides or (), as_written=True)
    except RecipeError as error:
        if not as_json:
            raise
        out.print_json(data={"valid": False, "problems": [asdict(problem) for problem in error.problems]})
        raise typer.Exit(error.exit_code) from error
    if as_json:
        out.print_json(data={"valid": True, "problems": []})
    else:
        what = f"{recipe.strategy.kind} of {recipe.backbone.name}"
        out.print(f"{escape(source)} is a valid recipe: {escape(what)}", soft_wrap=True)


@recipes_app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A shipped recipe or a file.")],
    after: Annotated[str, typer.Argument(metavar="B", help="A shipped recipe or a file.")],
    as_json: AsJson = False,
) -> None:
    """The keys on which two recipes differ."""
    from finetune_advisor.recipes.load import diff_recipes, load_recipe

    differences = diff_recipes(load_recipe(before, as_written=True), load_recipe(after, as_written=True))
    if as_json:
        out.print_json(data=[difference._asdict() for difference in differences])
        return
    if not differences:
        out.print("no difference")
        return
    table = Table("key", escape(before), escape(after))
    for key, old, new in differences:
        table.add_row(escape(key), _cell(old), _cell(new))
    out.print(table)


@recipes_app.command("preview")
def preview(
    source: Source,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="The images; those of the recipe if not given.")
    ] = None,
    file: Annotated[Path, typer.Option("--out", "-o", help="The picture to write, a PNG.")] = Path("preview.png"),
    images: Annotated[int, typer.Option(min=1, max=40, help="Images to show.")] = 6,
    epochs: Annotated[int, typer.Option(min=1, max=20, help="Draws of each.")] = 7,
    overrides: Overrides = None,
) -> None:
    """Draw what a recipe's augmentation makes of your images, epoch after epoch.

    Example: finetune-advisor recipes preview recipe.yaml
    """
    set_up_logging(Verbosity())
    from finetune_advisor.recipes.dump import scalar_text
    from finetune_advisor.recipes.load import load_recipe
    from finetune_advisor.workflows.run import preview as draw

    settings = [*(overrides or []), *([f"data.path={scalar_text(data)}"] if data else [])]
    names = draw(load_recipe(source, settings), file, images=images, epochs=epochs)
    out.print(f"{escape(str(file))}: {len(names)} images, each as it is and as training sees it", soft_wrap=True)


@recipes_app.command("schema")
def schema() -> None:
    """The JSON schema of a recipe, for editors that check YAML."""
    from finetune_advisor.recipes.load import recipe_schema

    out.print_json(data=recipe_schema())


def _cell(value: str | None) -> str:
    return "(no such key)" if value is None else escape(value)
