"""What a person sees in the terminal after `analyze`. It fits 80 columns, and names of any kind cannot disturb it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune_advisor.advice.sentences import expected_accuracy, majority_sentence, why
from finetune_advisor.cli.table_map import LEFT, FittingMap
from finetune_advisor.reporting.chosen import chosen_stages
from finetune_advisor.reporting.findings import Finding, Harm, findings, split_leak, wants_review
from finetune_advisor.reporting.names import quoted, shown
from finetune_advisor.reporting.sentences import FORECAST_HOLDS, duration, gain_sentence

if TYPE_CHECKING:
    from finetune_advisor.advice.advise import Advice
    from finetune_advisor.artifacts.profile import Cell, Profile
    from finetune_advisor.artifacts.recipe import Recipe

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
