"""The 2x2 table as a map in the terminal, with the data's place in it; `reporting/position.py` says where that is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from finetune_advisor.advice.table import CELLS, MEANING
from finetune_advisor.reporting.position import position

if TYPE_CHECKING:
    from finetune_advisor.artifacts.profile import Cell, Profile

COLUMN, ROWS = 30, 5
"""Size of a cell in characters."""

WORDS = 2
"""Lines of a cell, at its outer edge, that hold its name and meaning; the point stays out of them."""

LEFT = 12
"""Columns of the words beside the map."""

_ROWS, _COLUMNS = ("little", "plenty"), ("similar", "different")


def table_map(profile: Profile) -> Text:
    """The table with the data as a point and the profile's cell lit up: where the point is, unless a trial decided."""
    height = 2 * ROWS
    column, row = _place(profile)
    text = Text(" " * LEFT)
    text.append(f" {'← similar to ImageNet':<{COLUMN}}", "dim").append(
        f"{'different from ImageNet →':>{COLUMN + 1}} \n", "dim"
    )
    text.append(" " * LEFT + "┌" + "─" * COLUMN + "┬" + "─" * COLUMN + "┐\n", "dim")
    for y in range(height):
        label = {0: "little data", height - 1: "plenty"}.get(y, "")
        text.append(f"{label:<{LEFT}}", "dim").append("│", "dim")
        for side in (0, 1):
            text.append_text(_line_of_cell(int(y >= ROWS), side, y % ROWS, profile.cell, column if y == row else None))
            text.append("│", "dim")
        text.append("\n")
        if y == ROWS - 1:
            text.append(" " * LEFT + "├" + "─" * COLUMN + "┼" + "─" * COLUMN + "┤\n", "dim")
    text.append(" " * LEFT + "└" + "─" * COLUMN + "┴" + "─" * COLUMN + "┘", "dim")
    return text


def _line_of_cell(row: int, side: int, line: int, lit: Cell | None, point: int | None) -> Text:
    """One line of one cell; `point` is the column of the map that the point stands in, on this line."""
    name = CELLS[_ROWS[row], _COLUMNS[side]]
    number = line if row == 0 else line - (ROWS - WORDS)
    words = {0: f" {name}", 1: f" {MEANING[name]}"}.get(number, "")
    style = ("bold green" if number == 0 else "green") if name == lit else "bright_black"
    content = Text(f"{words:<{COLUMN}}", style)
    place = None if point is None else point - side * COLUMN
    if place is None or not 0 <= place < COLUMN:
        return content
    return Text.assemble(content[:place], ("●", "bold yellow"), content[place + 1 :])


def _place(profile: Profile) -> tuple[int, int]:
    """Column (0 is similar) and row (0 is little) of the data on the map."""
    place = position(profile)
    column = _on_side(place.across, COLUMN, second=profile.similarity.verdict == "different")
    return column, WORDS + _on_side(place.down, ROWS - WORDS, second=profile.size.verdict == "plenty")


def _on_side(share: float, half: int, *, second: bool) -> int:
    """A character on the side of the border that the verdict names, whatever the rounding."""
    place = math.floor(share * 2 * half)
    return min(max(place, half), 2 * half - 1) if second else min(place, half - 1)
