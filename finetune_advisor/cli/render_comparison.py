"""What a person sees of a comparison in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune_advisor.comparison import Comparison, Lead
from finetune_advisor.data.wording import counted
from finetune_advisor.reporting.names import shown
from finetune_advisor.reporting.sentences import duration

RUN = 40
"""Columns of a run's folder."""

VALUE = 30


def render_comparison(comparison: Comparison) -> RenderableType:
    """The runs, who leads and whether that may be chance, and how their recipes differ."""
    names = _names([each.run for each in comparison.runs])
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("run", "strategy"):
        table.add_column(column)
    for column in ("accuracy", "95 % interval", "time", "size"):
        table.add_column(column, justify="right")
    for each in comparison.runs:
        table.add_row(
            Text(names[each.run], "bold"),
            each.strategy,
            f"{each.accuracy:.3f}",
            f"[{each.low:.3f}, {each.high:.3f}]".replace("[", r"\["),
            duration(each.seconds),
            "–" if each.mebibytes is None else f"{each.mebibytes:.1f} MiB",
        )
    kind = {"test": "test", "val": "validation"}[comparison.split]
    parts: list[RenderableType] = [Text(f"{comparison.images:,} shared {kind} images", "dim"), table, Text()]
    parts += [_sentence(lead, names) for lead in comparison.leads]
    if comparison.recipes:
        parts += [Text(), _recipes(comparison, names)]
    else:
        parts.append(Text("The recipes are the same.", "dim"))
    parts += [Text(note, "dim") for note in comparison.notes]
    return Group(*parts)


def _sentence(lead: Lead, names: dict[str, str]) -> Text:
    best, other = names[lead.best], names[lead.other]
    if not lead.only_best and not lead.only_other:
        return Text(f"{best} and {other} agree on which images they recognize: they cannot be told apart.", "yellow")
    points = f"{100 * lead.lead:+.1f} points [{100 * lead.low:+.1f}, {100 * lead.high:+.1f}]"
    split = f"{counted(lead.only_best, 'image')} recognized by it alone, {lead.only_other} by the other alone"
    verdict = "it is better" if lead.told_apart else "they cannot be told apart"
    return Text.assemble(
        (f"{best} over {other}: ", "bold"),
        f"{points}; {split} (McNemar p = {lead.p:.2g}): ",
        (verdict, "bold green" if lead.told_apart else "bold yellow"),
    )


def _recipes(comparison: Comparison, names: dict[str, str]) -> RenderableType:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("recipe key", no_wrap=True, overflow="fold")
    for each in comparison.runs:
        table.add_column(Text(names[each.run]))
    for key, values in comparison.recipes.items():
        table.add_row(Text(key), *(Text("–" if value is None else shown(value, VALUE)) for value in values))
    return table


def _names(runs: list[str]) -> dict[str, str]:
    """Each run by the last part of its path, or by all of it where that is not enough."""
    short = [Path(run).name for run in runs]
    return {run: shown(name if short.count(name) == 1 else run, RUN) for run, name in zip(runs, short, strict=True)}
