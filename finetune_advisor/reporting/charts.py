"""The geometry of the page's charts: what is drawn where. Templates only place it.

All charts are drawn for a width of 360 units, which is a telephone's: text of 11 units is legible there without
enlarging, and on a desk the drawing grows a little.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from finetune_advisor.artifacts.profile import Cell, ProbeScore, Profile, Similarity
from finetune_advisor.reporting.names import shown
from finetune_advisor.reporting.position import position
from finetune_advisor.reporting.references import Reference
from finetune_advisor.reporting.scales import Scale, apart, path

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
