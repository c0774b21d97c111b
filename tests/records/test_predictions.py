"""Predictions of labeled images on the disk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.records.predictions import load_predictions, save_predictions

NAMES = ("a,b.png", 'say "cheese".png', "caf\udce9.png")
CLASSES = ("ants", "bees, wild")
LABELS_N = np.array([0, 1, 1])
PROBABILITIES_NK = np.array([[0.75, 0.25], [1e-7, 1 - 1e-7], [0.5, 0.5]])


def test_predictions_are_the_most_probable_classes(tmp_path: Path) -> None:
    save_predictions(tmp_path / "predictions.csv", CLASSES, NAMES, LABELS_N, PROBABILITIES_NK)
    with (tmp_path / "predictions.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == list(NAMES)
    assert [row["prediction"] for row in rows] == ["ants", "bees, wild", "ants"]
    assert [row["probability"] for row in rows] == ["0.750000", "1.000000", "0.500000"]


def test_they_come_back_and_one_that_is_lacking_is_told(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    save_predictions(path, CLASSES, NAMES, LABELS_N, PROBABILITIES_NK)
    assert [(one.name, one.label, one.right) for one in load_predictions(path, images=3)] == [
        (NAMES[0], "ants", True),
        (NAMES[1], "bees, wild", True),
        (NAMES[2], "bees, wild", False),
    ]
    with pytest.raises(RunError, match="it has 3 answers, and 4 images were scored"):
        load_predictions(path, images=4)


@pytest.mark.parametrize("content", ["", "{}", "path,label\nx,y\n", "path,label,prediction,probability\nx,y,z,much\n"])
def test_what_is_no_such_table_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(RunError, match=r"predictions\.csv is damaged"):
        load_predictions(tmp_path / "predictions.csv")
