"""`finetune-advisor backbones`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from finetune_advisor.cli.console import out
from finetune_advisor.cli.options import JsonOption


def backbones(as_json: JsonOption = False) -> None:
    """The pretrained networks that can be used on this machine without a network connection.

    Any other timm network can be named too: --weights hub downloads it, --weights FILE reads a file.
    """
    from finetune_advisor.backbones.weights import available

    found = available()
    if as_json:
        out.print_json(data=[item._asdict() for item in found])
        return
    table = Table("backbone", "weights", "license")
    for item in found:
        table.add_row(escape(item.name), item.source, escape(item.license or "not stated"))
    out.print(table)
    out.print("[dim]Any timm network by name: --weights hub (downloads), a file, or random.[/]")
