"""The page about a run: what came of it, what to change, how to use it; and its charts as files."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.diagnosis import Diagnosis
from finetune_advisor.records.ensemble import Ensemble
from finetune_advisor.records.history import Record
from finetune_advisor.records.metrics import counted_images, leak_sentence
from finetune_advisor.records.predictions import Answer
from finetune_advisor.reporting.gallery import Row, data_address, draw_contact_sheet
from finetune_advisor.reporting.pages import template, yaml_lines
from finetune_advisor.reporting.run_charts import (
    MOST_CLASSES,
    class_scores,
    confusion_plot,
    curve_plots,
    most_confused,
    recall_plot,
    reliability_plot,
)
from finetune_advisor.storage.files import atomic_path, atomic_write
from finetune_advisor.text import quoted, shown

MOST_MISTAKES, MOST_UNSURE = 8, 4
NAME = 120
Looks = Mapping[str, tuple[Image.Image, Image.Image]]
"""By name: an image as the network sees it, and the same with what the answer hangs on."""


@dataclass(frozen=True)
class RunFacts:
    """Everything the page is made of, read from a run's folder."""

    path: Path
    recipe: Recipe
    recipe_yaml: str
    metrics: Mapping[str, Any]
    records: Sequence[Record]
    answers: Sequence[Answer]
    """Of the test images, or of validation images where there is no test."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Group of each image that belongs together with others, by its name."""
    diagnosis: Diagnosis | None = None
    ensemble: Ensemble | None = None
    """Where several models are one."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    why: Sequence[str] = ()
    """Sentences of the advice about the analysis; empty without one."""
    looks: Looks = field(default_factory=dict)
    filters: Image.Image | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """An answer with its two pictures, where there are some."""

    name: str
    label: str
    prediction: str
    probability: float
    right: bool
    pictures: tuple[str, ...]


def worst(answers: Sequence[Answer]) -> list[Answer]:
    """The mistakes that the network is surest of."""
    return sorted((one for one in answers if not one.right), key=lambda one: -one.probability)[:MOST_MISTAKES]


def least_sure(answers: Sequence[Answer]) -> list[Answer]:
    """The answers of the lowest probability that are not among the mistakes shown."""
    mistakes = {one.name for one in worst(answers)}
    rest = (one for one in answers if one.name not in mistakes)
    return sorted(rest, key=lambda one: one.probability)[:MOST_UNSURE]


def run_page(facts: RunFacts, *, version: str, now: datetime | None = None) -> str:
    """The HTML of the page."""
    metrics = facts.metrics
    tested = metrics["test"] is not None
    scores = metrics["test"] if tested else metrics["val"]
    parts = [("test", metrics["test"]), (f"validation, {metrics['val_is']}", metrics["val"])]
    return template("run.html.j2").render(
        name=shown(facts.path.resolve().name),
        run=quoted(facts.path, "RUN"),
        strategy=metrics["recipe"],
        backbone=facts.recipe.backbone.name,
        data=facts.recipe.data.path,
        classes=metrics["classes"],
        tested=tested,
        scores=scores,
        leak=leak_sentence(scores, f"{'test' if tested else 'validation'} images", way_out=True),
        unchecked="not_checked" in (scores.get("leak") or {}),
        grouped=scores.get("accuracy_groups", scores["images"]) != scores["images"],
        counted=counted_images(scores, "test" if tested else "validation"),
        splits=[(name, part) for name, part in parts if part is not None],
        seconds=metrics["seconds"],
        why=facts.why,
        diagnosis=facts.diagnosis,
        ensemble=facts.ensemble,
        plots=curve_plots(facts.records),
        per_class=class_scores(scores["per_class"]),
        most_classes=MOST_CLASSES,
        recalls=recall_plot(scores["confusion"], metrics["classes"], scores["per_class"]),
        confusion=confusion_plot(scores["confusion"], metrics["classes"]),
        confused=most_confused(facts.answers),
        reliability=reliability_plot(facts.answers, facts.groups),
        filters=None if facts.filters is None else png_address(facts.filters),
        mistakes=[_looked(one, facts.looks) for one in worst(facts.answers)],
        unsure=[_looked(one, facts.looks) for one in least_sure(facts.answers)],
        wrong=sum(not one.right for one in facts.answers),
        recipe_lines=yaml_lines(facts.recipe_yaml),
        commands=_commands(facts),
        environment=_environment_rows(facts.environment),
        version=version,
        today=f"{now or datetime.now(UTC):%Y-%m-%d}",
    )


def png_address(image: Image.Image) -> str:
    """A picture as an address that holds it, every pixel as it is."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")


def _looked(answer: Answer, looks: Looks) -> Looked:
    return Looked(
        name=shown(answer.name, NAME),
        label=shown(answer.label, 30),
        prediction=shown(answer.prediction, 30),
        probability=answer.probability,
        right=answer.right,
        pictures=tuple(data_address(picture.copy()) for picture in looks.get(answer.name, ())),
    )


def _commands(facts: RunFacts) -> tuple[tuple[str, str], ...]:
    """What to do with the model, and what for."""
    run = quoted(facts.path, "RUN")
    found = [
        (f"finetune-advisor predict {run} IMAGES -o answers.csv", "Classify files and folders."),
        (f"finetune-advisor evaluate {run} DATA", "Score it on other labeled images."),
        (f"finetune-advisor export {run} --format onnx -o model.onnx", "One file for other programs; also hub."),
        (
            f'timm.create_model("local-dir:{run}/model", pretrained=True)',
            "The network in Python, after `import finetune_advisor`; class names and preprocessing are in config.json.",
        ),
    ]
    wanted = facts.recipe.ensemble
    if wanted is not None and facts.ensemble is None:
        found.insert(0, (f"finetune-advisor ensemble {run}", f"Make the recipe's ensemble: {wanted.kind}."))
    if facts.diagnosis is not None and facts.diagnosis.edits:
        found.insert(0, (f"finetune-advisor diagnose {run} --apply better.yaml", "Write the recipe as diagnosed."))
    return tuple(found)


def _environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in environment.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{name} {part}" for name, part in value.items() if part is not None)
        else:
            text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        rows.append((shown(str(key)), text))
    return rows


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
