"""Charts of a run: every value where it belongs, nothing drawn from nothing."""

from __future__ import annotations

import math

import pytest

from finetune_advisor.records.predictions import Answer
from finetune_advisor.reporting.charts import Series, line_plot
from finetune_advisor.reporting.run_charts import (
    class_scores,
    confusion_plot,
    most_confused,
    recall_plot,
    reliability_plot,
)


def test_a_line_leaves_out_what_is_no_number_and_keeps_the_rest_in_order() -> None:
    plot = line_plot("Loss", [1, 2, 3, 4], [Series("training", [4.0, None, math.nan, 1.0], strong=True)])
    assert plot is not None
    [line] = plot.lines
    (x1, y1), (x2, y2) = line.points
    assert x1 < x2 and y1 < y2, "down the page as the loss falls"
    assert line_plot("Loss", [1, 2], [Series("training", [None, None])]) is None


def test_a_logarithmic_axis_puts_equal_factors_at_equal_distances() -> None:
    plot = line_plot("Rate", [1, 2, 3], [Series("head", [1e-1, 1e-3, 1e-5])], log_y=True, band=(1e-4, 1e-2))
    assert plot is not None and plot.band is not None
    y = [place for _, place in plot.lines[0].points]
    assert y[1] - y[0] == pytest.approx(y[2] - y[1], abs=0.2)
    assert plot.band[0] < y[1] < plot.band[1]
    zero = line_plot("Rate", [1, 2], [Series("head", [0.0, 1e-3])], log_y=True)
    assert zero is not None and len(zero.lines[0].points) == 1


def test_hardly_a_difference_does_not_look_like_one() -> None:
    series = [Series("accuracy", [0.951, 0.955], strong=True)]
    close, far = (line_plot("Accuracy", [1, 2], series, least_span=span) for span in (0.06, 0.0))
    assert close is not None and far is not None
    heights = [abs(plot.lines[0].points[0][1] - plot.lines[0].points[1][1]) for plot in (close, far)]
    assert heights[0] < heights[1] / 10


def test_what_was_chosen_is_marked_on_its_point() -> None:
    series = [Series("accuracy", [0.7, 0.9, 0.8], strong=True)]
    plot = line_plot("Accuracy", [1e-4, 1e-3, 1e-2], series, log_x=True, marked=[1])
    assert plot is not None and plot.marks == (plot.lines[0].points[1],)


def answers(probability: float, right: int, wrong: int) -> list[Answer]:
    return [Answer(f"{n}", "a", "a" if n < right else "b", probability) for n in range(right + wrong)]


def test_reliability_is_the_mean_distance_between_said_and_true() -> None:
    plot = reliability_plot([*answers(0.95, 6, 4), *answers(0.55, 11, 9)])
    assert plot is not None and len(plot.bins) == 2
    assert plot.error == pytest.approx((10 * 0.35 + 20 * 0.0) / 30)
    assert plot.surer
    modest = reliability_plot(answers(0.55, 10, 0))
    assert modest is not None and not modest.surer
    assert reliability_plot([]) is None


def test_the_confusion_matrix_is_drawn_as_long_as_it_can_be_read() -> None:
    plot = confusion_plot([[8, 2], [0, 0]], ["ants", "bees"])
    assert plot is not None
    assert [(cell.count, cell.share, cell.right) for cell in plot.cells] == [
        (8, 0.8, True),
        (2, 0.2, False),
        (0, 0.0, False),
        (0, 0.0, True),
    ]
    assert confusion_plot([[0] * 13] * 13, [str(n) for n in range(13)]) is None


def test_a_class_without_images_has_no_bar_and_of_many_the_worst_have_one() -> None:
    plot = recall_plot([[9, 1, 0], [0, 0, 0], [5, 0, 5]], ["ants", "bees", "wasps"])
    assert plot is not None
    assert [(bar.name, bar.value[:4]) for bar in plot.bars] == [("ants", "0.90"), ("wasps", "0.50")]
    assert all(bar.low < bar.end < bar.high for bar in plot.bars)
    counts = [[at if row == at else 100 - row if at == 0 else 0 for at in range(30)] for row in range(30)]
    many = recall_plot(counts, [f"{n}" for n in range(30)])
    assert many is not None and len(many.bars) == 20 and many.bars[0].name == "1"
    assert recall_plot([[0, 0], [0, 0]], ["a", "b"]) is None


def test_the_most_frequent_mistakes_come_first() -> None:
    pairs = [("a", "b")] * 3 + [("b", "a")] * 5 + [("a", "a")] * 9
    found = most_confused([Answer(str(n), label, said, 0.9) for n, (label, said) in enumerate(pairs)])
    assert found == (("b", "a", 5), ("a", "b", 3))


def test_of_many_classes_the_worst_are_listed() -> None:
    each = {f"{n}": {"images": 2, "precision": None, "recall": 0.5, "f1": n / 100} for n in range(100)}
    rows = class_scores(each | {"none": {"images": 0, "precision": None, "recall": None, "f1": None}})
    assert len(rows) == 40 and rows[0].name == "0"
