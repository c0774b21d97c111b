"""Pictures side by side: what a recipe's augmentation makes of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from finetune_advisor.reporting.figures import new_figure, save_figure, short

CELL_INCHES = 1.35
"""Side of one picture."""


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
    figure = new_figure(CELL_INCHES * columns, CELL_INCHES * len(rows) + 0.9)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for number, row in enumerate(rows):
        for column, image in enumerate((row.plain, *row.drawn)):
            cell = axes[number, column]
            cell.imshow(image)
            cell.set_xticks([])
            cell.set_yticks([])
            if number == 0:
                cell.set_title(heads[column] if heads else f"epoch {column}" if column else "as it is", fontsize=8)
        axes[number, 0].set_ylabel(short(row.title, 20), fontsize=8)
    save_figure(figure, path)
