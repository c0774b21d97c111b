"""`finetune-advisor backbones`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from finetune_advisor.cli.console import out
from finetune_advisor.cli.options import JsonOption


def backbones(as_json: JsonOption = False) -> None:
    """The networks that can be used on this machine without a network connection; `random` ones train from scratch.

    Any other timm network can be named too: --weights hub downloads it, --weights FILE reads a file.
    """
    from finetune_advisor.backbones.weights import available, untrained

    found = (*available(), *untrained())
    if as_json:
        out.print_json(data=[item._asdict() for item in found])
        return
    table = Table("backbone", "weights", "license")
    for item in found:
        none = "no weights" if item.source == "random" else "not stated"
        table.add_row(escape(item.name), item.source, escape(item.license or none))
    out.print(table)
    out.print("[dim]Any timm network by name: --weights hub (downloads), a file, or random.[/]")
