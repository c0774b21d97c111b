"""`finetune-advisor analyze`, and what it prints: it fits 80 columns, and names of any kind cannot disturb it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from finetune_advisor import processes
from finetune_advisor.advice.sentences import expected_accuracy, majority_sentence, why
from finetune_advisor.advice.table import CELLS, MEANING
from finetune_advisor.analysis.request import LIMIT
from finetune_advisor.cli.console import LISTING, out, progress, set_up_logging
from finetune_advisor.cli.options import (
    LARGEST_SEED,
    ClassFoldersOption,
    DeviceName,
    DeviceOption,
    JsonOption,
    LabelColumnOption,
    PathColumnOption,
    QuietOption,
    VerboseOption,
    Verbosity,
)
from finetune_advisor.reporting.analysis_page import chosen_stages
from finetune_advisor.reporting.charts import position
from finetune_advisor.reporting.findings import Finding, Harm, findings, split_leak, wants_review
from finetune_advisor.reporting.sentences import FORECAST_HOLDS, duration, gain_sentence
from finetune_advisor.text import quoted, shown

if TYPE_CHECKING:
    from finetune_advisor.advice.advise import Advice
    from finetune_advisor.recipes.recipe import Recipe
    from finetune_advisor.records.profile import Cell, Profile


class CellName(StrEnum):
    """What `--strategy` takes: the cells of the table."""

    linear_probe = "linear_probe"
    stage_probe = "stage_probe"
    few_layers = "few_layers"
    many_layers = "many_layers"


def analyze(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of class folders, with train/, val/ and test/ above them or not; a CSV, TSV or Parquet with "
            "path,label[,split][,group] or other usual names; a .zip or .tar; hf:NAME.",
        ),
    ],
    recipe: Annotated[Path, typer.Option("--out", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    report_dir: Annotated[
        Path | None, typer.Option(help="Where the measurements go; analysis/ beside the recipe if not given.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="The timm network to fine-tune.")] = "tf_efficientnet_lite0",
    weights: Annotated[
        str | None,
        typer.Option(help="bundled, hub, random, or a .safetensors or .pth file; bundled if there, else hub."),
    ] = None,
    strategy: Annotated[
        CellName | None, typer.Option(help="Write this cell's recipe, whatever the table says.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of a table whose values (patients) never straddle a split."),
    ] = None,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    merge_classes: Annotated[
        bool,
        typer.Option("--merge-classes", help="Make one class of names like Dog, dog and 'dog '; 0 and 0.0."),
    ] = False,
    class_folders: ClassFoldersOption = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=10, help="Most images to look at; of more, a stratified sample is taken.")
    ] = LIMIT,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seeds split and folds.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recipe that was edited by hand.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure every image again.")] = False,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure the images, choose a recipe, and say why.

    Writes recipe.yaml, every chosen line with its reason, and analysis/: report.html to look at, profile.json with all
    figures, clean.csv without unreadable files and extra copies, review.csv with what wants a look.

    Examples: finetune-advisor analyze ./data
    · finetune-advisor analyze scans.csv --group patient
    · finetune-advisor analyze ./data --backbone resnet50 --weights hub
    · torchrun --nproc-per-node 2 -m finetune_advisor analyze ./data
    """
    verbosity = Verbosity(quiet, verbose)
    set_up_logging(verbosity)
    from finetune_advisor.workflows.analyze import analyze_and_advise, require_place

    folder = report_dir or recipe.parent / "analysis"
    require_place(recipe, folder, force=force)
    with progress(verbosity, waiting=None if as_json else LISTING) as bars:
        analysis = analyze_and_advise(
            data,
            backbone=backbone,
            weights=weights,
            group=group,
            path_column=path_column,
            label_column=label_column,
            merge_classes=merge_classes,
            class_folders=class_folders.value if class_folders else None,
            strategy=strategy.value if strategy else None,
            seed=seed,
            limit=limit,
            device=device.value,
            use_cache=not no_cache,
            progress=lambda done, total: bars.show("looking at the images", done, total),
            probe_progress=lambda done, total: bars.show("fitting linear classifiers", done, total),
            view_progress=lambda done, total: bars.show("looking at some of them another way", done, total),
        )
    if not processes.is_main():
        return
    analysis.save(recipe, folder)
    if as_json:
        out.print_json(analysis.profile.model_dump_json())
    elif not quiet:
        seconds = analysis.expected_seconds
        out.print(render_analysis(analysis.profile, analysis.advice, recipe, folder, expected_seconds=seconds))


COLUMN, ROWS = 30, 5
"""Size of a cell in characters, where the terminal is wide enough."""

LEAST_COLUMN = 14
"""Characters that the name of a cell takes; in a terminal too narrow for two of them there is no map."""

WORDS = 2
"""Lines of a cell, at its outer edge, that hold its name and meaning; the point stays out of them."""

LEFT = 12
"""Columns of the words beside the map."""

_ROWS, _COLUMNS = ("little", "plenty"), ("similar", "different")


@dataclass(frozen=True)
class FittingMap:
    """The map as wide as the terminal allows; where that is too narrow, a line that says the same."""

    profile: Profile

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = min(COLUMN, (options.max_width - LEFT - len("│││")) // 2)
        yield table_map(self.profile, wide) if wide >= LEAST_COLUMN else _in_words(self.profile)


def _in_words(profile: Profile) -> Text:
    amount, likeness = profile.size.verdict, profile.similarity.verdict
    data = "little data" if amount == "little" else "plenty of data"
    ends = f": {data}, {likeness} {'to' if likeness == 'similar' else 'from'} ImageNet"
    return Text.assemble((profile.cell or "", "bold green"), ends)


def table_map(profile: Profile, wide: int = COLUMN) -> Text:
    """The table with the data as a point and the profile's cell lit up.

    Args:
        wide: characters of a cell, at least `LEAST_COLUMN`.
    """
    height = 2 * ROWS
    column, row = _place(profile, wide)
    text = Text(" " * LEFT)
    left, right = "← similar to ImageNet", "different from ImageNet →"
    if len(right) > wide:
        left, right = "← similar", "different →"
    text.append(f" {left:<{wide}}", "dim").append(f"{right:>{wide + 1}} \n", "dim")
    text.append(" " * LEFT + "┌" + "─" * wide + "┬" + "─" * wide + "┐\n", "dim")
    for y in range(height):
        label = {0: "little data", height - 1: "plenty"}.get(y, "")
        text.append(f"{label:<{LEFT}}", "dim").append("│", "dim")
        for side in (0, 1):
            point = column - side * wide if y == row else None
            text.append_text(_line_of_cell(int(y >= ROWS), side, y % ROWS, profile.cell, point, wide))
            text.append("│", "dim")
        text.append("\n")
        if y == ROWS - 1:
            text.append(" " * LEFT + "├" + "─" * wide + "┼" + "─" * wide + "┤\n", "dim")
    text.append(" " * LEFT + "└" + "─" * wide + "┴" + "─" * wide + "┘", "dim")
    return text


def _line_of_cell(row: int, side: int, line: int, lit: Cell | None, point: int | None, wide: int) -> Text:
    """One line of one cell; `point` is the column of this cell that the point stands in, if it is on this line."""
    name = CELLS[_ROWS[row], _COLUMNS[side]]
    number = line if row == 0 else line - (ROWS - WORDS)
    words = {0: f" {name}", 1: f" {MEANING[name]}"}.get(number, "")
    if len(words) > wide:
        words = ""  # of the meaning, half a sentence says nothing
    style = ("bold green" if number == 0 else "green") if name == lit else "bright_black"
    content = Text(f"{words:<{wide}}", style)
    if point is None or not 0 <= point < wide:
        return content
    return Text.assemble(content[:point], ("●", "bold yellow"), content[point + 1 :])


def _place(profile: Profile, wide: int) -> tuple[int, int]:
    """Column (0 is similar) and row (0 is little) of the data on the map."""
    place = position(profile)
    column = _on_side(place.across, wide, second=profile.similarity.verdict == "different")
    return column, WORDS + _on_side(place.down, ROWS - WORDS, second=profile.size.verdict == "plenty")


def _on_side(share: float, half: int, *, second: bool) -> int:
    """A character on the side of the border that the verdict names, whatever the rounding."""
    place = math.floor(share * 2 * half)
    return min(max(place, half), 2 * half - 1) if second else min(place, half - 1)


BAR = 28
COLUMNS = 80
"""Width that lines are made for; a narrower terminal cuts names short, a wider one is left empty."""

LABEL = 10
"""Columns of the words at the left edge."""

STAGE = 14
"""Columns of a stage's name."""

MOST_FINDINGS = 9
"""Lines of health; the rest is on the page."""

STYLES: dict[Harm, str] = {"bad": "red", "warn": "yellow", "note": "bright_black"}


def render_analysis(
    profile: Profile, advice: Advice, recipe: Path, folder: Path, *, expected_seconds: float | None = None
) -> RenderableType:
    """A leak first; then place in the table, why, probes, expectation, health, and what to do next.

    Args:
        profile: placed in the table.
        advice: what was made of it.
        recipe: the file that was written.
        folder: where the report and the measurements were written.
        expected_seconds: how long the recipe should run here; None where nobody measured it.
    """
    parts: list[RenderableType] = [_headline(profile), Text()]
    if leak := split_leak(profile, folder):
        parts += [_finding_table("Leak", [leak]), Text()]
    parts += [FittingMap(profile), *_near_by(profile), Text(), _why(profile, advice.cell), Text()]
    parts += [_probe_bars(profile, advice.recipe), Text()]
    parts += [_expectation(profile, advice, expected_seconds), *_more_images(profile), Text()]
    parts += [*_health(profile), Text()]
    return Group(*parts, _next(recipe, folder, review=wants_review(profile.health)))


def _headline(profile: Profile) -> Text:
    name = shown(Path(profile.data).resolve().name or profile.data, 30)
    counts = " · ".join(f"{split} {count.images:,}" for split, count in profile.splits.items())
    line = Text.assemble((name, "bold"), f"  {profile.images:,} images in {len(profile.classes):,} classes")
    line.append(f"  ({counts})", "dim")
    if profile.sampled is not None:
        sampled = profile.sampled
        line.append(f"\nLooked at a stratified sample: {sampled.images:,} of {sampled.of:,} images.", "dim")
    return line


def _near_by(profile: Profile) -> Iterator[RenderableType]:
    """What would decide for the next cell."""
    rows = [shown(neighbor.decides, 4 * COLUMNS) for neighbor in profile.neighbors[:1]]
    if rows:
        table = Table.grid(padding=0)
        table.add_column(width=LEFT)
        for row in rows:
            table.add_row("", Text(row, "dim"))
        yield table


def _why(profile: Profile, cell: Cell) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for sentence in why(profile, cell):
        table.add_row(Text(" ·", "dim"), Text(sentence))
    return Group(Text("Why", "bold"), table)


def _probe_bars(profile: Profile, recipe: Recipe) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    chosen = chosen_stages(recipe)
    floor = max(0.0, min(probe.accuracy for probe in profile.probes) - 0.1)
    for probe in profile.probes:
        filled = round(BAR * (probe.accuracy - floor) / max(1 - floor, 1e-9))
        here = probe.stage in chosen
        bar = Text("━" * filled, "bold green" if here else "cyan").append("─" * (BAR - filled), "bright_black")
        note = Text("← the recipe", "green") if here else Text()
        table.add_row(
            Text(f"  {shown(probe.stage, STAGE)}"), bar, Text(f"{probe.accuracy:.3f} ± {probe.std:.3f}"), note
        )
    title = Text.assemble(("Linear classifiers at each stage", "bold"), ("  accuracy on held-out folds", "dim"))
    return Group(title, table)


def _expectation(profile: Profile, advice: Advice, seconds: float | None) -> RenderableType:
    expected = advice.expected
    lines = [Text(f"accuracy {expected_accuracy(expected)} on unseen images")]
    if majority := majority_sentence(expected):
        lines.append(Text(majority))
    lines += [Text(f"from {expected.basis}", "dim"), Text(FORECAST_HOLDS, "dim")]
    took = f"this analysis took {duration(profile.seconds.total)}"
    lines.append(Text(took, "dim") if seconds is None else Text(f"about {duration(seconds)} on this machine; {took}"))
    return _labeled("Expected", lines)


def _more_images(profile: Profile) -> Iterator[RenderableType]:
    if sentence := gain_sentence(profile.size):
        yield _labeled("More data", [Text(sentence)])


def _health(profile: Profile) -> Iterator[RenderableType]:
    found = list(findings(profile))
    if not found and split_leak(profile) is None:
        sound = Finding("note", "no unreadable files, no copies, no doubtful labels, balanced classes")
        yield _finding_table("Health", [sound], style="green")
    elif found:
        yield _finding_table("Health", found[:MOST_FINDINGS])
        rest = len(found) - MOST_FINDINGS
        more = f"and {rest} more; " if rest > 0 else ""
        yield _labeled("", [Text(f"{more}pictures in report.html, every name in profile.json", "dim")])


def _finding_table(title: str, found: list[Finding], *, style: str | None = None) -> RenderableType:
    table = Table.grid(padding=0)
    table.add_column(width=LABEL)
    table.add_column(width=2)
    table.add_column()
    for number, finding in enumerate(found):
        text = Text(finding.text, "bold" if finding.harm == "bad" else "")
        table.add_row(Text(title if number == 0 else "", "bold"), Text("●", style or STYLES[finding.harm]), text)
        if finding.examples:
            examples = Text(_fitting(finding, COLUMNS - LABEL - 2), "dim", no_wrap=True, overflow="ellipsis")
            table.add_row("", "", examples)
    return table


def _fitting(finding: Finding, columns: int) -> str:
    """As many of the examples as fit on a line, one at least, and how many more there are."""
    for count in range(len(finding.examples), 0, -1):
        rest = finding.total - count
        text = ", ".join(finding.examples[:count]) + (f" and {rest:,} more" if rest > 0 else "")
        if Text(text).cell_len <= columns:
            return text
    return text


def _next(recipe: Path, folder: Path, *, review: bool) -> RenderableType:
    place = shown(str(folder), COLUMNS - LABEL - len("/report.html"))
    lines = [
        Text.assemble(shown(str(recipe), COLUMNS - LABEL - 2), ("  what was decided, and by which figures", "dim")),
        Text.assemble(f"{place}/report.html", ("  all of this with pictures", "dim")),
        Text.assemble(f"{place}/profile.json", ("  every figure", "dim")),
        Text.assemble(f"{place}/clean.csv", ("  without unreadable files and extra copies", "dim")),
    ]
    if review:
        lines.append(Text.assemble(f"{place}/review.csv", ("  images that want a look", "dim")))
    if (folder / "groups.csv").is_file():
        lines.append(Text.assemble(f"{place}/groups.csv", ("  near-duplicates on one side of the split", "dim")))
    command = "finetune-advisor run" + ("" if str(recipe) == "recipe.yaml" else f" {quoted(recipe, 'RECIPE')}")
    return Group(_labeled("Wrote", lines), _labeled("Next", [Text(command, "bold cyan", overflow="fold")]))


def _labeled(label: str, lines: list[Text]) -> RenderableType:
    table = Table.grid(padding=0)
    table.add_column(width=LABEL)
    for number, line in enumerate(lines):
        table.add_row(Text(label if number == 0 else "", "bold"), line)
    return table
