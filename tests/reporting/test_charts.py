"""What is drawn is what was measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from finetune_advisor.records.profile import CurvePoint, Profile, Size
from finetune_advisor.reporting.analysis_page import Advised
from finetune_advisor.reporting.charts import WIDTH, probe_plot, references, similarity_plot, stage_plot, table_plot
from finetune_advisor.reporting.curve_chart import curve_plot


def test_the_table_lights_the_cell(full: Profile, advise: Callable[..., Advised]) -> None:
    advised = advise(full)
    plot = table_plot(full, advised.cells, advised.meanings)
    cells = {cell.name: cell for cell in plot.cells}
    assert [name for name, cell in cells.items() if cell.here] == ["stage_probe"]
    here = cells["stage_probe"]
    assert here.x < plot.x < here.x + plot.cell_width and here.y < plot.y < here.y + plot.cell_height
    assert plot.low_x <= plot.x <= plot.high_x


def test_scores_are_sorted_dots_on_one_axis(full: Profile) -> None:
    plot = similarity_plot(full.similarity, references())
    assert [row.name for row in plot.rows if row.yours] == ["your data"]
    assert [row.x for row in plot.rows] == sorted((row.x for row in plot.rows), reverse=True)
    yours = next(row for row in plot.rows if row.yours)
    assert yours.x == pytest.approx(plot.start + 0.722 * (plot.end - plot.start), abs=0.06)
    assert plot.border == pytest.approx(plot.start + 0.85 * (plot.end - plot.start), abs=0.06)


def test_stages_are_lines_whose_labels_do_not_touch(full: Profile) -> None:
    plot = stage_plot(full.similarity, references())
    assert plot is not None
    assert len(plot.lines) == len(references()) + 1
    assert np.diff(sorted(line.label_y for line in plot.lines)).min() > 13
    (yours,) = [line for line in plot.lines if line.yours]
    heights = [y for _, y in yours.points]
    assert np.corrcoef(heights, [each.score for each in full.similarity.per_stage])[0, 1] == pytest.approx(-1, abs=1e-4)


def test_without_stages_there_is_no_such_plot(bare: Profile) -> None:
    assert stage_plot(bare.similarity, references()) is None


def test_bars_start_at_zero_and_their_whiskers_are_standard_errors(full: Profile) -> None:
    plot = probe_plot(full.probes, ("all",), 0.25)
    for bar, probe in zip(plot.bars, full.probes, strict=True):
        assert (bar.end - plot.start) / (plot.end - plot.start) == pytest.approx(probe.accuracy, abs=1e-3)
        assert (bar.high - bar.low) / (plot.end - plot.start) == pytest.approx(2 * probe.std, abs=1.2e-3)
    assert [bar.name for bar in plot.bars if bar.chosen] == ["all"]
    assert plot.guess == pytest.approx((3 * plot.start + plot.end) / 4, abs=0.06)


def test_the_curve_passes_where_the_law_says(full: Profile) -> None:
    plot = curve_plot(full.size)
    assert plot is not None and plot.forecast is not None
    # Heights of two known points give the axis; the law's path has to agree with it everywhere.
    (first, last), (low, high) = (plot.dots[0], plot.dots[-1]), (0.79, 0.885)
    points = [tuple(map(float, pair.split(","))) for pair in plot.fitted.removeprefix("M").split("L")]
    images = np.geomspace(100, 800, len(points))
    accuracies = 1 - (0.06 + 1.1 * images**-0.45)
    expected = first.y + (accuracies - low) / (high - low) * (last.y - first.y)
    assert np.allclose([y for _, y in points], expected, atol=0.2)
    assert plot.forecast.high < plot.forecast.y < plot.forecast.low
    assert plot.left < plot.dots[0].x < plot.dots[-1].x < plot.forecast.x < WIDTH
    assert plot.band.endswith("Z")


def test_a_curve_without_a_law_is_its_points(full: Profile) -> None:
    size = full.size.model_copy(update={"power_law": None, "forecast": None})
    plot = curve_plot(size)
    assert plot is not None and len(plot.dots) == 4
    assert (plot.fitted, plot.beyond, plot.band, plot.forecast) == ("", "", "", None)


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_a_flat_curve_can_be_drawn(bare: Profile, accuracy: float) -> None:
    points = tuple(CurvePoint(images=images, accuracy=accuracy, std=0) for images in (10, 20))
    size: Size = bare.size.model_copy(update={"learning_curve": points})
    plot = curve_plot(size)
    assert plot is not None and len(plot.y_ticks) >= 2


def test_one_point_is_no_curve(bare: Profile) -> None:
    assert curve_plot(bare.size) is None
