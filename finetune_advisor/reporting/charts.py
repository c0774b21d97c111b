"""The geometry of the pages' charts: what is drawn where. Templates only place it.

The axes of the 2x2 table are bent so that the thresholds lie in the middle: how far a point is from one is how sure its
cell is.

All charts are drawn for a width of 360 units, which is a telephone's: text of 11 units is legible there without
enlarging, and on a desk the drawing grows a little.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from finetune_advisor.records.profile import Cell, ProbeScore, Profile, Similarity, Size
from finetune_advisor.text import shown

STEPS = (1, 2, 5, 10)
"""Multiples of a power of ten that people read at a glance."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from [low, high] to [start, end]; values outside are put on the ends."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, in units of the drawing, to a tenth."""
        low, high, value = (self._bent(x) for x in (self.low, self.high, min(max(value, self.low), self.high)))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def _bent(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.logarithmic else value


def ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """At most so many round values within [low, high], evenly apart."""
    if not high > low:
        return (low,)
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    for step in STEPS:
        first, last = math.ceil(low / (step * power) - 1e-9), math.floor(high / (step * power) + 1e-9)
        if last - first + 1 <= most:
            # Divided last: 3 * 0.1 is not 0.3.
            return tuple(round(number * step * power, 12) for number in range(first, last + 1))
    raise AssertionError("ten times a tenth of the range leaves few ticks")


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Powers of ten within [low, high]; with fewer than three of them 2 and 5 times those, too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(tens) >= 3:
        return tuple(tens)
    return tuple(step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high)


def apart(places: Sequence[float], gap: float, low: float, high: float) -> tuple[float, ...]:
    """Labels moved so that neighbors are at least `gap` apart, in the same order and as near as may be.

    Where there are too many for [low, high] they run over its end.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    # Blocks of labels that touch: (sum of wished-for starts, number). A block stands at its mean wish.
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        total, count = places[index] - rank * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    highest = high - (len(places) - 1) * gap
    moved = [0.0] * len(places)
    for rank, index in enumerate(order):
        moved[index] = round(max(min(starts[rank], highest), low) + rank * gap, 1)
    return tuple(moved)


def path(points: Sequence[tuple[float, float]]) -> str:
    """A line through points, as the `d` of an SVG path."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


DECADES = 2.0
"""Powers of ten of the images a class that are shown on either side of a border given in images."""

INSIDE = 0.004
"""How near to a border a point is drawn at most, so that it shows on the side of the verdict."""


@dataclass(frozen=True, slots=True)
class Position:
    """A point; `across` is 0 for ImageNet itself and 1 for nothing like it, `down` 0 for no data and 1 for plenty."""

    across: float
    down: float
    left: float
    """Left end of the interval of similarity, on the same axis."""
    right: float


def position(profile: Profile) -> Position:
    """The place of a profile that `advice` has placed; always on the side of each border that its verdict names."""
    size, similarity = profile.size, profile.similarity
    border = similarity.threshold
    assert size.threshold is not None and border is not None, "the profile is not placed"
    ends = sorted(1 - _bent(score, border) for score in (similarity.low, similarity.high))
    return Position(
        across=_on_side(1 - _bent(similarity.score, border), second=similarity.verdict == "different"),
        down=_on_side(_size_score(size, size.threshold), second=size.verdict == "plenty"),
        left=ends[0],
        right=ends[1],
    )


def _size_score(size: Size, border: float) -> float:
    if size.amount is not None:
        return _bent(size.amount, border)
    # An older rule: the border is a number of images a class.
    return 0.5 + 0.5 * math.log10(max(size.per_effective_class, 1e-9) / border) / DECADES


def _bent(value: float, border: float) -> float:
    """A value in [0, 1] moved so that the border becomes one half."""
    if value < border:
        return 0.5 * value / border
    return 0.5 + 0.5 * (value - border) / max(1 - border, 1e-9)


def _on_side(share: float, *, second: bool) -> float:
    share = min(max(share, 0.0), 1.0)
    return max(share, 0.5 + INSIDE) if second else min(share, 0.5 - INSIDE)


REFERENCES_FILE = Path(__file__).parent / "reference_similarity.yaml"
"""Written by benchmarks/similarity_references.py."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A known data set and how similar to ImageNet it is."""

    name: str
    score: float
    per_stage: Mapping[str, float]


@cache
def references() -> tuple[Reference, ...]:
    """The reference sets of this version, most similar first."""
    rows = yaml.safe_load(REFERENCES_FILE.read_text(encoding="utf-8"))
    found = [Reference(name, row["score"], row["per_stage"]) for name, row in rows.items()]
    return tuple(sorted(found, key=lambda reference: -reference.score))


WIDTH = 360
ROW = 22
"""Height of a row of a dot or bar chart."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A named place on an axis."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class TableCell:
    x: float
    y: float
    name: Cell
    meaning: str
    here: bool
    text_y: float
    """Baseline of the name, at the outer edge, where the point is least in the way."""


@dataclass(frozen=True, slots=True)
class TablePlot:
    """The 2x2 table with the data as a point and the interval of its similarity as a bar."""

    height: float
    left: float
    top: float
    cell_width: float
    cell_height: float
    cells: tuple[TableCell, ...]
    x: float
    y: float
    low_x: float
    high_x: float


def table_plot(profile: Profile, cells: Mapping[tuple[str, str], Cell], meanings: Mapping[Cell, str]) -> TablePlot:
    """The table; `cells` says which cell lies at (size verdict, similarity verdict)."""
    left, top, width, height, edge = 20.0, 20.0, 169.0, 118.0, 10.0
    across = Scale(0, 1, left + edge, left + 2 * width - edge)
    down = Scale(0, 1, top + edge, top + 2 * height - edge)
    drawn = []
    for (size, similarity), name in cells.items():
        x, y = left + width * (similarity == "different"), top + height * (size == "plenty")
        text_y = y + (18 if size == "little" else height - 24)
        drawn.append(TableCell(x, y, name, meanings[name], name == profile.cell, text_y))
    place = position(profile)
    return TablePlot(
        height=top + 2 * height + 2,
        left=left,
        top=top,
        cell_width=width,
        cell_height=height,
        cells=tuple(drawn),
        x=across(place.across),
        y=down(place.down),
        low_x=across(place.left),
        high_x=across(place.right),
    )


@dataclass(frozen=True, slots=True)
class DotRow:
    y: float
    name: str
    x: float
    value: str
    low: float
    high: float
    yours: bool


@dataclass(frozen=True, slots=True)
class DotPlot:
    """Scores as dots on one axis, a row each."""

    height: float
    start: float
    end: float
    bottom: float
    ticks: tuple[Tick, ...]
    rows: tuple[DotRow, ...]
    border: float | None


def similarity_plot(similarity: Similarity, references: Sequence[Reference]) -> DotPlot:
    """The score among those of known data sets, most similar first."""
    start, end = 138.0, 318.0
    scale = Scale(0, 1, start, end)
    scores = [(each.score, each.name, (each.score, each.score), False) for each in references]
    scores.append((similarity.score, "your data", (similarity.low, similarity.high), True))
    rows = []
    for number, (score, name, ends, yours) in enumerate(sorted(scores, key=lambda row: -row[0])):
        low, high = map(scale, ends)
        rows.append(DotRow(16 + ROW * number, name, scale(score), f"{score:.2f}", low, high, yours))
    bottom = ROW * len(rows) + 8.0
    border = scale(similarity.threshold) if similarity.threshold is not None else None
    marks = tuple(Tick(scale(value), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1))
    return DotPlot(bottom + 20, start, end, bottom, marks, tuple(rows), border)


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    d: str
    points: tuple[tuple[float, float], ...]
    label_x: float
    label_y: float
    yours: bool


@dataclass(frozen=True, slots=True)
class StagePlot:
    """A line for each data set over the stages of the ruler."""

    height: float
    left: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def stage_plot(similarity: Similarity, references: Sequence[Reference]) -> StagePlot | None:
    """Similarity at each stage beside that of known data sets; None where it was not measured by stage."""
    stages = [each.stage for each in similarity.per_stage]
    if len(stages) < 2:
        return None
    left, right, top, bottom = 26.0, 222.0, 10.0, 190.0
    across, up = Scale(0, len(stages) - 1, left + 6, right), Scale(0, 1, bottom, top)
    named = [(each.name, each.per_stage, False) for each in references if set(stages) <= set(each.per_stage)]
    named.append(("your data", {each.stage: each.score for each in similarity.per_stage}, True))
    drawn = [[(across(at), up(scores[stage])) for at, stage in enumerate(stages)] for _, scores, _ in named]
    label_ys = apart([points[-1][1] for points in drawn], 13.5, top, bottom + 8)
    lines = tuple(
        Line(name, path(points), tuple(points), right + 12, label_y, yours)
        for (name, _, yours), points, label_y in zip(named, drawn, label_ys, strict=True)
    )
    x_ticks = tuple(Tick(across(at), _short(stage)) for at, stage in enumerate(stages))
    y_ticks = tuple(Tick(up(value), f"{value:g}") for value in (0, 0.5, 1))
    return StagePlot(bottom + 34, left, right, bottom, x_ticks, y_ticks, lines)


def _short(stage: str) -> str:
    """`blocks.3` as `3`, so that the names of all stages fit side by side."""
    return stage.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Bar:
    y: float
    name: str
    end: float
    low: float
    high: float
    value: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class BarPlot:
    """Accuracy of the probe at each place, with its standard error."""

    height: float
    start: float
    end: float
    bottom: float
    ticks: tuple[Tick, ...]
    bars: tuple[Bar, ...]
    guess: float | None
    """What naming the largest class every time would score."""


def probe_plot(probes: Sequence[ProbeScore], chosen: Collection[str], guess: float | None) -> BarPlot:
    """A bar a probe from zero, in the order of the stages.

    Args:
        chosen: stages that the recipe fits.
        guess: accuracy of naming the largest class every time.
    """
    start, end = 76.0, 262.0
    scale = Scale(0, 1, start, end)
    bars = tuple(
        Bar(
            y=4.0 + ROW * number,
            name=shown(probe.stage, 10),
            end=scale(probe.accuracy),
            low=scale(probe.accuracy - probe.std),
            high=scale(probe.accuracy + probe.std),
            value=f"{probe.accuracy:.3f} ± {probe.std:.3f}",
            chosen=probe.stage in chosen,
        )
        for number, probe in enumerate(probes)
    )
    bottom = ROW * len(bars) + 6.0
    marks = tuple(Tick(scale(value), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1))
    return BarPlot(bottom + 20, start, end, bottom, marks, bars, scale(guess) if guess is not None else None)


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
