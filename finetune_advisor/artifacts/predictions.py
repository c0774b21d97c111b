"""Answers about labeled images as a table: what the model said of each, and what is right.

Shapes: N images, K classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.storage import atomic_write


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
    rows.writerow(["path", "label", "prediction", "probability"])
    for name, label, probabilities_K in zip(names, labels_N.tolist(), probabilities_NK, strict=True):
        best = int(probabilities_K.argmax())
        rows.writerow([name, classes[label], classes[best], f"{probabilities_K[best]:.6f}"])
    atomic_write(path, text.getvalue().encode(errors="surrogateescape"))
