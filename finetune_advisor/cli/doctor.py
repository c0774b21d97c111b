"""`finetune-advisor doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from finetune_advisor.cli.console import out, set_up_logging
from finetune_advisor.cli.options import JsonOption, Verbosity


def doctor(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe to look at too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What this machine offers and what would go wrong: versions, devices, disks, hub and weights; changes nothing.

    With a recipe also whether its images and weights are there, and, from scratch, whether its sizes work out.
    The exit code is 1 where nothing works before something is mended.

    Example: finetune-advisor doctor recipe.yaml
    """
    set_up_logging(Verbosity())
    from finetune_advisor.workflows.doctor import examine

    found = examine(recipe)
    if as_json:
        out.print_json(data=found.as_json())
    else:
        grid = Table.grid(padding=(0, 2))
        for fact in found.facts:
            grid.add_row(Text(fact.name, "bold"), Text(fact.value))
        out.print(grid)
        for trouble in found.troubles:
            mark = "[bold red]✗[/]" if trouble.blocks else "[bold yellow]![/]"
            out.print(f"\n{mark} {escape(trouble.what)}", highlight=False, soft_wrap=True)
            out.print(f"  [dim]→[/] {escape(trouble.hint)}", highlight=False, soft_wrap=True)
        if not found.troubles:
            out.print("\n[green]✓[/] Nothing stands in the way.", highlight=False)
    if found.blocked:
        raise typer.Exit(1)
