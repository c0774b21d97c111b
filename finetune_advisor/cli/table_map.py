"""The 2x2 table as a map in the terminal, with the data's place in it.

Both axes are bent so that the borders lie in the middle: a point's distance from a border is how sure its cell is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from finetune_advisor.advice.table import CELLS, MEANING

if TYPE_CHECKING:
    from finetune_advisor.artifacts.profile import Profile

COLUMN, ROWS = 30, 4
"""Size of a cell in characters."""

DECADES = 2.0
"""Powers of ten of the amount that are shown on either side of the border."""

_ROWS, _COLUMNS = ("little", "plenty"), ("similar", "different")


def table_map(profile: Profile) -> Text:
    """The table with the data as a point and the cell it lies in lit up."""
    height = 2 * ROWS
    column, row = _position(profile)
    here = (int(row >= ROWS), int(column >= COLUMN))
    left = 12
    text = Text(" " * left)
    text.append(f" {'← similar to ImageNet':<{COLUMN}}", "dim").append(
        f"{'different from ImageNet →':>{COLUMN + 1}} \n", "dim"
    )
    text.append(" " * left + "┌" + "─" * COLUMN + "┬" + "─" * COLUMN + "┐\n", "dim")
    for y in range(height):
        label = {0: "little data", height - 1: "plenty"}.get(y, "")
        text.append(f"{label:<{left}}", "dim").append("│", "dim")
        for side in (0, 1):
            _row_of_cell(text, (int(y >= ROWS), side), y % ROWS, here, (column, row) if y == row else None)
            text.append("│", "dim")
        text.append("\n")
        if y == ROWS - 1:
            text.append(" " * left + "├" + "─" * COLUMN + "┼" + "─" * COLUMN + "┤\n", "dim")
    text.append(" " * left + "└" + "─" * COLUMN + "┴" + "─" * COLUMN + "┘", "dim")
    return text


def _row_of_cell(
    text: Text, cell: tuple[int, int], line: int, here: tuple[int, int], point: tuple[int, int] | None
) -> None:
    name = CELLS[_ROWS[cell[0]], _COLUMNS[cell[1]]]
    words = (f" {name}", f" {MEANING[name]}", "", "")[line]
    style = ("bold green" if line == 0 else "green") if cell == here else "bright_black"
    content = Text(f"{words:<{COLUMN}}", style)
    if point is not None and cell == here:
        place = point[0] - cell[1] * COLUMN
        content = Text.assemble(content[:place], ("●", "bold yellow"), content[place + 1 :])
    text.append_text(content)


def _position(profile: Profile) -> tuple[int, int]:
    """Column (0 is similar) and row (0 is little) of the data on the map."""
    size, similarity = profile.size, profile.similarity
    assert size.threshold is not None and similarity.threshold is not None, "the profile is not placed"
    border = similarity.threshold
    if similarity.score >= border:
        across = 0.5 * (1 - similarity.score) / (1 - border)
    else:
        across = 0.5 + 0.5 * (border - similarity.score) / border
    down = 0.5 + 0.5 * math.log10(size.per_effective_class / size.threshold) / DECADES
    # On the side of the border that the verdict names, whatever the rounding.
    column = _on_side(across, COLUMN, similarity.verdict == "different")
    row = _on_side(down, ROWS, size.verdict == "plenty")
    return column, row


def _on_side(share: float, half: int, second: bool) -> int:
    place = math.floor(min(max(share, 0.0), 1.0) * 2 * half)
    return min(max(place, half), 2 * half - 1) if second else min(place, half - 1)
