"""Answers about labeled images as a table: what the model said of each, and what is right.

Shapes: N images, K classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.errors import RunError

COLUMNS = ["path", "label", "prediction", "probability"]


def save_predictions(
    path: Path,
    classes: Sequence[str],
    names: Sequence[str],
    labels_N: npt.NDArray[np.integer],
    probabilities_NK: npt.NDArray[np.floating],
) -> None:
    """Write path, label, prediction and its probability of every image as CSV, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for name, label, probabilities_K in zip(names, labels_N.tolist(), probabilities_NK, strict=True):
        best = int(probabilities_K.argmax())
        rows.writerow([name, classes[label], classes[best], f"{probabilities_K[best]:.6f}"])
    atomic_write(path, text.getvalue().encode(errors="surrogateescape"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of one labeled image."""

    name: str
    label: str
    prediction: str
    probability: float
    """Of the prediction."""

    @property
    def right(self) -> bool:
        return self.label == self.prediction


def load_predictions(path: Path, *, images: int | None = None) -> tuple[Answer, ...]:
    """Read what `save_predictions` wrote.

    Args:
        images: how many answers there must be; None takes any number.

    Raises:
        RunError: the file is missing, is not such a table, or is cut short.
    """
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if rows.fieldnames != COLUMNS:
            raise ValueError(f"its columns are {rows.fieldnames}")
        found = tuple(Answer(row["path"], row["label"], row["prediction"], float(row["probability"])) for row in rows)
        if images is not None and len(found) != images:
            raise ValueError(f"it has {len(found):,} answers, and {images:,} images were scored")
        return found
    except FileNotFoundError:
        raise RunError(f"{path} is missing.", "A run writes it at its end; without it the run is not whole.") from None
    except (csv.Error, TypeError, ValueError) as problem:
        raise RunError(f"{path} is damaged: expected {', '.join(COLUMNS)} ({problem}).") from problem
