"""`finetune-advisor compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from finetune_advisor.cli.console import out, set_up_logging
from finetune_advisor.cli.options import JsonOption, Verbosity
from finetune_advisor.comparison import Compared, Comparison, Lead
from finetune_advisor.records.metrics import counted_images, leak_sentence
from finetune_advisor.reporting.sentences import duration
from finetune_advisor.text import counted, shown


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of finished runs or ensembles.")],
    as_json: JsonOption = False,
) -> None:
    """Compare runs on the images they share: who leads, by how much, whether that may be chance; time, size, recipes.

    Example: finetune-advisor compare runs/data-1 runs/data-2
    """
    set_up_logging(Verbosity())
    from finetune_advisor.comparison import compare as compare_runs
    from finetune_advisor.records.rundir import RunDir

    comparison = compare_runs([RunDir(run) for run in runs])
    if as_json:
        out.print_json(data=comparison.as_json())
    else:
        out.print(render_comparison(comparison))


RUN = 40
"""Columns of a run's folder."""

VALUE = 30

MOST_COLUMNS = 10_000
"""Wider than any terminal: what a table would take if it could."""


def render_comparison(comparison: Comparison) -> RenderableType:
    """The runs, who leads and whether that may be chance, and how their recipes differ."""
    names = _names([each.run for each in comparison.runs])
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("run", "strategy"):
        table.add_column(column)
    leaks = any(each.leak for each in comparison.runs)
    for column in ("accuracy", "95 % interval", *(["without leak"] if leaks else []), "time", "size"):
        table.add_column(column, justify="right")
    for each in comparison.runs:
        table.add_row(
            Text(names[each.run], "bold"),
            each.strategy,
            f"{each.accuracy:.3f}",
            f"[{each.low:.3f}, {each.high:.3f}]".replace("[", r"\["),
            *([_without(each)] if leaks else []),
            duration(each.seconds),
            "–" if each.mebibytes is None else f"{each.mebibytes:.1f} MiB",
        )
    kind = {"test": "test", "val": "validation"}[comparison.split]
    counted_ = counted_images({"images": comparison.images, "accuracy_groups": comparison.groups}, f"shared {kind}")
    parts: list[RenderableType] = [Text(counted_, "dim"), table, Text()]
    best = comparison.runs[0]
    block = {"images": comparison.images, "accuracy": best.accuracy, "leak": best.leak}
    if leak := leak_sentence(block, f"shared {kind} images"):
        parts += [Text.assemble((f"{names[best.run]}: ", "bold"), leak, style="red"), Text()]
    parts += [_sentence(lead, names) for lead in comparison.leads]
    if comparison.recipes:
        parts += [Text(), _Recipes([names[each.run] for each in comparison.runs], comparison.recipes)]
    else:
        parts.append(Text("The recipes are the same.", "dim"))
    parts += [Text(note, "dim") for note in comparison.notes]
    return Group(*parts)


def _without(run: Compared) -> str:
    value = run.leak["accuracy_without"] if run.leak else None
    return "–" if value is None else f"{value:.3f}"


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


@dataclass(frozen=True)
class _Recipes:
    """The keys on which recipes differ: a column for each run, or below each other where the terminal is too narrow."""

    runs: Sequence[str]
    keys: Mapping[str, Sequence[str | None]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("recipe key", no_wrap=True)
        for run in self.runs:
            table.add_column(Text(run), no_wrap=True)
        for key, values in self.keys.items():
            table.add_row(Text(key), *map(_value, values))
        fits = Measurement.get(console, options.update(max_width=MOST_COLUMNS), table).maximum <= options.max_width
        yield table if fits else self._stacked()

    def _stacked(self) -> RenderableType:
        width = max(map(len, self.runs))
        lines = [Text("recipe keys that differ", "dim")]
        for key, values in self.keys.items():
            lines.append(Text(f"  {key}"))
            lines += [
                Text.assemble((f"    {run:<{width}}  ", "dim"), _value(value))
                for run, value in zip(self.runs, values, strict=True)
            ]
        return Group(*lines)


def _value(value: str | None) -> Text:
    return Text("–" if value is None else shown(value, VALUE))


def _names(runs: list[str]) -> dict[str, str]:
    """Each run by the last part of its path, or by all of it where that is not enough."""
    short = [Path(run).name for run in runs]
    return {run: shown(name if short.count(name) == 1 else run, RUN) for run, name in zip(runs, short, strict=True)}
