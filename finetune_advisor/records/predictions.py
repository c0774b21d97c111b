"""Predictions of labeled images as tables: the most probable class of each, or all probabilities.

Shapes: N images, K classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.errors import RunError
from finetune_advisor.storage.files import atomic_write

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


_ANSWERED = ["path", "label"]
"""The columns before those of the classes."""

_CLASS = "class:"
"""What a class's column begins with where its name alone would be that of another column."""


def class_columns(classes: Sequence[str], taken: Collection[str]) -> list[str]:
    """The names of the columns of the classes in a table whose other columns are `taken`: no two are the same.

    A class is called by its name. One that is called like another column has `class:` before it, and so has one that
    would then be called like that (`error`, `class:error`, and so on).
    """
    return [f"{_CLASS}{name}" if _bare(name) in taken else name for name in classes]


def _bare(name: str) -> str:
    while name.startswith(_CLASS):
        name = name.removeprefix(_CLASS)
    return name


@dataclass(frozen=True)
class Answers:
    """A model's probabilities (N, K) of labeled images, by name."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    labels_N: npt.NDArray[np.integer]
    probabilities_NK: npt.NDArray[np.floating]


def save_answers(path: Path, answers: Answers) -> None:
    """Write path, label and the probability of every class as CSV, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*_ANSWERED, *class_columns(answers.classes, _ANSWERED)])
    for name, label, probabilities_K in zip(
        answers.names, answers.labels_N.tolist(), answers.probabilities_NK, strict=True
    ):
        rows.writerow([name, answers.classes[label], *(f"{probability:.6g}" for probability in probabilities_K)])
    atomic_write(path, text.getvalue().encode(errors="surrogateescape"))


def load_answers(path: Path) -> Answers:
    """Read what `save_answers` wrote.

    Raises:
        RunError: the file is missing, damaged, or not such a table.
    """
    try:
        text = path.read_bytes().decode(errors="surrogateescape")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if header[: len(_ANSWERED)] != _ANSWERED or not rows:
            raise ValueError(f"its columns are {','.join(header)}")
        if {len(row) for row in rows} != {len(header)}:
            raise ValueError("a row is cut short")
        columns = header[len(_ANSWERED) :]
        classes = tuple(name.removeprefix(_CLASS) if _bare(name) in _ANSWERED else name for name in columns)
        return Answers(
            names=tuple(row[0] for row in rows),
            classes=classes,
            labels_N=np.array([classes.index(row[1]) for row in rows]),
            probabilities_NK=np.array([row[len(_ANSWERED) :] for row in rows], dtype=np.float64),
        )
    except FileNotFoundError:
        raise RunError(
            f"{path} is missing: the run has no answers on held-out images to choose members by.",
            "It was made by an older version, or has not finished; run its recipe again.",
        ) from None
    except (ValueError, csv.Error) as problem:
        raise RunError(f"{path} is damaged: {problem}.", "Run the recipe again.") from problem
