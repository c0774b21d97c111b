"""Curves drawn with the dots of Braille letters, for `--plot`: eight dots a letter, two across and four down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.columns import Columns
from rich.console import RenderableType
from rich.text import Text

from finetune_advisor.artifacts.history import Record

WIDTH, HEIGHT = 30, 9
"""Letters of one drawing, its scale aside."""

BLANK = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""What each dot of a letter adds to its code, by column and row."""

TRAINING, VALIDATION = "bright_black", "cyan"


@dataclass(frozen=True, slots=True)
class Curve:
    """A line by its values, in a color; what is no number is left out."""

    values: Sequence[float | None]
    color: str

    def points(self) -> list[tuple[int, float]]:
        """(place, value) of what is a number."""
        return [(at, value) for at, value in enumerate(self.values) if value is not None and math.isfinite(value)]


def plot_history(records: Sequence[Record]) -> RenderableType:
    """Loss and accuracy over epochs, or of a probe over the strengths that were tried."""
    if records and records[0].strength is not None:
        x = (f"{records[0].strength:g}", f"{records[-1].strength:g} L2")
    else:
        x = ("", f"epoch {records[-1].epoch:g}") if records else ("", "")
    panels = []
    for name in ("loss", "accuracy"):
        curves = [
            Curve([getattr(record, f"{part}_{name}") for record in records], color)
            for part, color in (("train", TRAINING), ("val", VALIDATION))
        ]
        panels.append(plot(name, curves, x=x))
    trained = any(record.train_loss is not None for record in records)
    names = [("── training  ", TRAINING)] if trained else []
    legend = Text.assemble(*names, ("── validation" if trained else "── out of fold", VALIDATION))
    return Columns([*panels, legend], padding=(0, 3))


def plot(title: str, curves: Sequence[Curve], *, x: tuple[str, str]) -> Text:
    """One drawing with its highest and lowest value at the side, `x` at its ends; later curves lie on top."""
    values = [value for curve in curves for _, value in curve.points()]
    if not values:
        return Text(f"{title}: nothing to draw", "dim")
    low, high = min(values), max(values)
    longest = max(len(curve.values) for curve in curves)
    letters: dict[tuple[int, int], int] = {}
    colors: dict[tuple[int, int], str] = {}
    for curve in curves:
        for column, row in _dots(curve.points(), longest, low, high):
            place = column // 2, row // 4
            letters[place] = letters.get(place, 0) | DOTS[column % 2][row % 4]
            colors[place] = curve.color
    drawing = Text(f"{title}\n", "bold")
    for row in range(HEIGHT):
        label = _short(high) if row == 0 else _short(low) if row == HEIGHT - 1 else ""
        drawing.append(f"{label:>7} ", "not bold dim")
        for column in range(WIDTH):
            place = column, row
            drawing.append(chr(BLANK + letters.get(place, 0)), f"not bold {colors.get(place, 'default')}")
        drawing.append("\n")
    drawing.append(f"{'':8}{x[0]}{x[1]:>{WIDTH - len(x[0])}}", "not bold dim")
    return drawing


def _short(value: float) -> str:
    """A value in at most seven letters."""
    text = f"{value:.3g}"
    return text if len(text) <= 7 else f"{value:.2g}"


def _dots(points: Sequence[tuple[int, float]], longest: int, low: float, high: float) -> Iterable[tuple[int, int]]:
    """Every dot of a line: points, and what lies straight between two of them that follow each other."""
    wide, tall = 2 * WIDTH - 1, 4 * HEIGHT - 1
    placed = [
        (
            round(at / max(1, longest - 1) * wide),
            round((high - value) / (high - low) * tall) if high > low else tall // 2,
        )
        for at, value in points
    ]
    yield from placed[:1]
    for (x1, y1), (x2, y2) in pairwise(placed):
        steps = max(abs(x2 - x1), abs(y2 - y1), 1)
        for step in range(1, steps + 1):
            yield round(x1 + (x2 - x1) * step / steps), round(y1 + (y2 - y1) * step / steps)
