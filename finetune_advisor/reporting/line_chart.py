"""The geometry of a chart of lines: what is drawn where. Templates only place it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_advisor.reporting.charts import Tick
from finetune_advisor.reporting.scales import Scale, apart, log_ticks, path, ticks

LEFT, RIGHT, TOP, BOTTOM = 46.0, 268.0, 12.0, 170.0
LABEL_GAP = 13.5
MOST_DOTS = 40
"""Points of a line up to which each has its dot."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line by its values; those that are None or no number are left out."""

    name: str
    values: Sequence[float | None]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class DrawnLine:
    name: str
    d: str
    points: tuple[tuple[float, float], ...]
    label_y: float
    strong: bool
    dots: bool


@dataclass(frozen=True, slots=True)
class LinePlot:
    """Lines over a common axis, each with its name at its end."""

    title: str
    x_label: str
    height: float
    left: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[DrawnLine, ...]
    band: tuple[float, float] | None
    """Upper and lower edge of what is usual."""
    marks: tuple[tuple[float, float], ...]
    """Points that were chosen."""


def line_plot(
    title: str,
    x: Sequence[float],
    series: Sequence[Series],
    *,
    x_label: str = "epoch",
    log_x: bool = False,
    log_y: bool = False,
    band: tuple[float, float] | None = None,
    marked: Sequence[int] = (),
    least_span: float = 0.0,
) -> LinePlot | None:
    """A chart of lines; None where there is nothing to draw.

    Args:
        band: values between which is usual.
        marked: places in `x` that were chosen.
        least_span: what the axis spans at least, so that hardly a difference does not look like one.
    """
    drawn = [(one, _points(x, one.values, log=log_y)) for one in series]
    drawn = [(one, points) for one, points in drawn if points]
    if not drawn:
        return None
    across, up = _scales([points for _, points in drawn], log_x=log_x, log_y=log_y, band=band, span=least_span)
    placed = [[(across(at), up(value)) for at, value in points] for _, points in drawn]
    label_ys = apart([points[-1][1] for points in placed], LABEL_GAP, TOP, BOTTOM)
    lines = tuple(
        DrawnLine(one.name, path(points), tuple(points), label_y, one.strong, len(points) <= MOST_DOTS)
        for (one, _), points, label_y in zip(drawn, placed, label_ys, strict=True)
    )
    x_values = log_ticks(across.low, across.high) if log_x else ticks(across.low, across.high, 6)
    y_values = log_ticks(up.low, up.high) if log_y else ticks(up.low, up.high)
    chosen = [value for one, points in drawn for at, value in points if one.strong and at in {x[n] for n in marked}]
    places = [x[n] for n in marked]
    return LinePlot(
        title=title,
        x_label=x_label,
        height=BOTTOM + 36,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        x_ticks=tuple(Tick(across(value), f"{value:g}") for value in x_values),
        y_ticks=tuple(Tick(up(value), f"{value:g}") for value in y_values),
        lines=lines,
        band=(up(band[1]), up(band[0])) if band is not None else None,
        marks=tuple((across(at), up(value)) for at, value in zip(places, chosen, strict=False)),
    )


def _points(x: Sequence[float], values: Sequence[float | None], *, log: bool) -> list[tuple[float, float]]:
    found = []
    for at, value in zip(x, values, strict=True):
        if value is not None and math.isfinite(value) and not (log and value <= 0):
            found.append((at, value))
    return found


def _scales(
    lines: Sequence[Sequence[tuple[float, float]]],
    *,
    log_x: bool,
    log_y: bool,
    band: tuple[float, float] | None,
    span: float,
) -> tuple[Scale, Scale]:
    xs = [at for points in lines for at, _ in points]
    ys = [*(value for points in lines for _, value in points), *(band or ())]
    low, high = min(ys), max(ys)
    if log_y:
        low, high = low / 1.5, high * 1.5
    else:
        margin = max(0.06 * (high - low), (span - (high - low)) / 2) or 0.05 * abs(high) or 0.5
        low, high = low - margin if low < 0 else max(0.0, low - margin), high + margin
    left, right = (min(xs), max(xs)) if len(set(xs)) > 1 else (min(xs) / 2, max(xs) * 2 or 1.0)
    return Scale(left, right, LEFT + 6, RIGHT - 4, logarithmic=log_x), Scale(low, high, BOTTOM, TOP, logarithmic=log_y)
