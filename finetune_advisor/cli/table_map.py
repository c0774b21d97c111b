"""The 2x2 table as a map in the terminal, with the data's place in it; `reporting/position.py` says where that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from finetune_advisor.advice.table import CELLS, MEANING
from finetune_advisor.reporting.position import position

if TYPE_CHECKING:
    from finetune_advisor.artifacts.profile import Cell, Profile

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
