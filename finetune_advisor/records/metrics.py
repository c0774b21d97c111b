"""metrics.json read back: what every finished run has in it is checked at the door; and what it says, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from finetune_advisor.errors import RunError
from finetune_advisor.storage.files import first_problem, load_json


class _ClassScores(BaseModel):
    precision: float | None
    recall: float | None
    f1: float | None
    images: int


class _Leak(BaseModel):
    """Images that the model knows from training; see `metrics.leak_scores`."""

    groups: int
    images: int
    accuracy_without: float | None
    accuracy_without_ci95: tuple[float, float] | None
    images_without: int
    groups_without: int


class _NotChecked(BaseModel):
    not_checked: str
    """Why nobody looked for such images."""


class _Scores(BaseModel):
    accuracy: float
    accuracy_ci95: tuple[float, float]
    accuracy_groups: int | None = None
    """Groups of images that the interval is of; None in runs of earlier versions, whose intervals were of images."""
    leak: _Leak | _NotChecked | None = None
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


WAY_OUT = "`finetune-advisor analyze` writes groups.csv: these images, split so that near-duplicates stay together."
"""What helps against a leak between the splits of a data set."""


def leak_sentence(scores: Mapping[str, Any], what: str = "test images", *, way_out: bool = False) -> str | None:
    """What a leak means for a score, the same words everywhere; None where there is none.

    Args:
        scores: a block of metrics.json, or what `evaluate` found.
        what: the images that were scored.
        way_out: whether to add what helps, where there is a leak.
    """
    leak = scores.get("leak")
    if not leak:
        return None
    if "not_checked" in leak:
        return f"Not checked whether the {what} have near-duplicates in the training data: {leak['not_checked']}."
    groups = f"{leak['groups']:,} group{'' if leak['groups'] == 1 else 's'}"
    count, total, one = f"{leak['images']:,}", f"{scores['images']:,} {what}", leak["images"] == 1
    if identical := leak.get("identical"):
        text = f"{count} of the {total} {'is' if one else 'are'} in the training data, as the same file or as a "
        text += f"near-duplicate ({groups}; {identical:,} the same file): "
    else:
        kin = "near-duplicates or images of their group" if leak.get("own_groups") else "near-duplicates"
        text = f"{count} of the {total} {'has' if one else 'have'} {kin} in the training data ({groups}): "
    if leak["accuracy_without"] is None:
        text += f"the accuracy of {scores['accuracy']:.3f} says nothing about new images."
    else:
        low, high = leak["accuracy_without_ci95"]
        without = counted_images({"images": leak["images_without"], "accuracy_groups": leak["groups_without"]})
        text += f"without them the accuracy is {leak['accuracy_without']:.3f} [{low:.3f}, {high:.3f}] on {without}, "
        text += f"not {scores['accuracy']:.3f}."
    return f"{text} {WAY_OUT}" if way_out else text


def counted_images(scores: Mapping[str, Any], kind: str = "") -> str:
    """`402 test images in 52 groups`: what the interval of a score rests on; without groups where all stand alone."""
    images, groups = scores["images"], scores.get("accuracy_groups")
    text = f"{images:,} {kind}{' ' if kind else ''}image{'' if images == 1 else 's'}"
    if groups is None or groups == images:
        return text
    return f"{text} in {groups:,} group{'' if groups == 1 else 's'}"
