"""The charts and pictures of a run as files of their own: SVG that follows the reader's light or dark, and PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from finetune_advisor.artifacts.predictions import Answer
from finetune_advisor.artifacts.storage import atomic_path, atomic_write
from finetune_advisor.reporting.contact_sheet import Row, draw_contact_sheet
from finetune_advisor.reporting.names import shown
from finetune_advisor.reporting.pages import template
from finetune_advisor.reporting.run_charts import confusion_plot, curve_plots, recall_plot, reliability_plot
from finetune_advisor.reporting.run_page import RunFacts, least_sure, worst


def write_figures(facts: RunFacts, folder: Path) -> tuple[Path, ...]:
    """Write every chart and picture that the run has something for.

    Raises:
        StorageError: the folder cannot be written.
    """
    scores = facts.metrics["test"] or facts.metrics["val"]
    drawn: dict[str, tuple[str, object]] = {name: ("lines", plot) for name, plot in curve_plots(facts.records).items()}
    drawn["reliability"] = ("reliability", reliability_plot(facts.answers, facts.groups))
    recalls = recall_plot(scores["confusion"], facts.metrics["classes"], scores["per_class"])
    drawn["per_class"] = ("bars", recalls)
    drawn["confusion"] = ("confusion", confusion_plot(scores["confusion"], facts.metrics["classes"]))
    written = []
    for name, (kind, plot) in drawn.items():
        if plot is not None:
            written.append(folder / f"{name}.svg")
            svg = template("figure.svg.j2").render(kind=kind, plot=plot)
            atomic_write(written[-1], svg.strip().encode(errors="backslashreplace") + b"\n")
    if facts.filters is not None:
        written.append(folder / "filters.png")
        with atomic_path(written[-1]) as temporary:
            facts.filters.save(temporary)
    for name, answers in (("mistakes", worst(facts.answers)), ("least_sure", least_sure(facts.answers))):
        if rows := _rows(answers, facts.looks):
            written.append(folder / f"{name}.png")
            title = "Wrong, and surest of it" if name == "mistakes" else "Least sure"
            draw_contact_sheet(rows, written[-1], title=title, heads=("image", "what it hangs on"))
    return tuple(written)


def _rows(answers: Sequence[Answer], looks: Mapping[str, tuple[Image.Image, Image.Image]]) -> list[Row]:
    return [
        Row(shown(f"{one.prediction}, labeled {one.label}", 40), *_pair(looks[one.name]))
        for one in answers
        if one.name in looks
    ]


def _pair(pictures: tuple[Image.Image, Image.Image]) -> tuple[Image.Image, list[Image.Image]]:
    return pictures[0], [pictures[1]]
