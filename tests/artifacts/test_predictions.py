"""Predictions of labeled images on the disk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from finetune_advisor.artifacts.predictions import save_predictions

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
