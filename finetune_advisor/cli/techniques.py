"""`finetune-advisor techniques`: the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from finetune_advisor.cli.console import out
from finetune_advisor.errors import FinetuneAdvisorError, did_you_mean

if TYPE_CHECKING:
    from finetune_advisor.techniques.catalog import Entry


def techniques(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A technique or a family of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="All of them as a page of Markdown.")] = False,
) -> None:
    """What a recipe can be made of: what each technique does, when it is advised, its keys, its source."""
    from dataclasses import asdict

    from finetune_advisor.reporting.technique_page import technique_page
    from finetune_advisor.techniques.catalog import catalog

    if as_markdown:
        out.print(technique_page(), markup=False, highlight=False, emoji=False, soft_wrap=True, end="")
        return
    entries = catalog() if name is None else _named(name, catalog())
    if as_json:
        out.print_json(data=[asdict(entry) for entry in entries])
    elif name is None:
        out.print(_overview(entries))
    else:
        for entry in entries:
            _print_details(entry)


def _named(name: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    found = tuple(entry for entry in entries if name in (entry.kind, entry.family))
    if not found:
        names = [known for entry in entries for known in (entry.kind, entry.family)]
        raise FinetuneAdvisorError(
            f"no technique or family is named {name!r}{did_you_mean(name, names)}",
            "`finetune-advisor techniques` lists them all.",
        )
    return found


def _overview(entries: tuple[Entry, ...]) -> Table:
    table = Table("family", "kind", "what it does")
    family = ""
    for entry in entries:
        if family and entry.family != family:
            table.add_section()
        table.add_row("" if entry.family == family else entry.family, entry.kind, escape(entry.summary))
        family = entry.family
    return table


def _print_details(entry: Entry) -> None:
    from finetune_advisor.recipes.dump import scalar_text

    out.print(f"[bold]{entry.kind}[/bold] ({entry.family}): {escape(entry.summary)}.", highlight=False)
    if entry.remarks:
        out.print(escape(entry.remarks), highlight=False)
    out.print(f"Source: {escape(entry.source)}", highlight=False)
    if entry.measured:
        out.print(f"Measured: {escape(entry.measured)}", highlight=False)
    when = f"Advised: {entry.advised}" if entry.advised else f"Never advised by itself: {entry.not_advised}"
    out.print(escape(when), highlight=False)
    if entry.keys:
        table = Table("key", "type", "default", "meaning")
        for key in entry.keys:
            table.add_row(
                key.name, escape(key.type), "" if key.required else escape(scalar_text(key.default)), escape(key.doc)
            )
        out.print(table)
    out.print()
