"""metrics.json read back: what every finished run has in it is checked at the door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from finetune_advisor.artifacts.json_file import first_problem, load_json
from finetune_advisor.errors import RunError


class _ClassScores(BaseModel):
    precision: float | None
    recall: float | None
    f1: float | None
    images: int


class _Scores(BaseModel):
    accuracy: float
    accuracy_ci95: tuple[float, float]
    balanced_accuracy: float
    log_loss: float
    images: int
    per_class: dict[Any, _ClassScores]
    """Names are not checked: bytes that are not UTF-8 are no text to pydantic."""
    confusion: list[list[int]]


class _Metrics(BaseModel):
    """What is used of the file; further keys are left alone."""

    val: _Scores | None
    test: _Scores | None
    val_is: str
    recipe: str
    classes: list[Any]
    seconds: dict[str, float]


def load_metrics(path: Path, otherwise: str, *, hint: str) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        otherwise: begins the message where it cannot be used.
        hint: what to do where it is missing.

    Raises:
        RunError: it is missing, damaged, or lacks what every finished run has.
    """
    loaded = load_json(path, otherwise, hint=hint)
    try:
        problem = _contradiction(_Metrics.model_validate(loaded))
    except ValidationError as error:
        problem = first_problem(error)
    if problem is not None:
        raise RunError(f"{otherwise}: {path.name} is damaged ({problem}).", "Execute its recipe again.")
    return loaded


def _contradiction(metrics: _Metrics) -> str | None:
    parts = [part for part in (metrics.val, metrics.test) if part is not None]
    if not parts:
        return "it has scores of neither val nor test"
    count = len(metrics.classes)
    for part in parts:
        sides = {len(part.confusion), *map(len, part.confusion)}
        if sides != {count} or set(part.per_class) != set(metrics.classes):
            return f"it has {count} classes, and scores of others"
    if not {"total", "images"} <= metrics.seconds.keys():
        return "seconds: total or images is missing"
    return None
