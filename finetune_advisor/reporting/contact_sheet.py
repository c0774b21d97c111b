"""Pictures side by side: what a recipe's augmentation makes of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from finetune_advisor.artifacts.storage import atomic_path

CELL, GAP, HEAD, LINE = 160, 10, 56, 20
"""Sides of a picture, of what lies between two, of the title with the names of the columns, and of a line of text, in
pixels."""
INK, GROUND = "#1f2933", "#ffffff"
LONGEST_TITLE = 22
"""Letters below a picture."""


@dataclass(frozen=True)
class Row:
    """An image as the network sees it, and what training sees in its first epochs."""

    title: str
    plain: Image.Image
    drawn: Sequence[Image.Image]


def draw_contact_sheet(rows: Sequence[Row], path: Path, *, title: str, heads: Sequence[str] | None = None) -> None:
    """Write a PNG with a line for each image; `heads` are the names of its columns, if they are not epochs.

    Raises:
        StorageError: the file cannot be written.
    """
    columns = 1 + max(len(row.drawn) for row in rows)
    step = CELL + GAP
    sheet = Image.new("RGB", (GAP + columns * step, HEAD + len(rows) * (step + LINE)), GROUND)
    pen, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(12)
    pen.text((GAP, GAP), title, INK, font=large)
    for column in range(columns):
        head = heads[column] if heads else f"epoch {column}" if column else "as it is"
        pen.text((GAP + column * step, HEAD - LINE), head, INK, font=small)
    for number, row in enumerate(rows):
        top = HEAD + number * (step + LINE)
        for column, image in enumerate((row.plain, *row.drawn)):
            sheet.paste(image.convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC), (GAP + column * step, top))
        room = LONGEST_TITLE * columns
        name = row.title if len(row.title) <= room else f"{row.title[: room - 1]}…"
        pen.text((GAP, top + CELL + 2), name, INK, font=small)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")
