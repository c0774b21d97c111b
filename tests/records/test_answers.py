"""Answers about labeled images survive the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.records.predictions import Answers, class_columns, load_answers, save_answers

NAMES = ("a,b.png", 'say "cheese".png', "caf\udce9.png")
CLASSES = ("ants", "bees, wild")
LABELS_N = np.array([0, 1, 1])
PROBABILITIES_NK = np.array([[0.75, 0.25], [1e-7, 1 - 1e-7], [0.5, 0.5]])


def test_answers_come_back_with_names_of_every_kind(tmp_path: Path) -> None:
    save_answers(tmp_path / "held_out.csv", Answers(NAMES, CLASSES, LABELS_N, PROBABILITIES_NK))
    found = load_answers(tmp_path / "held_out.csv")
    assert (found.names, found.classes, found.labels_N.tolist()) == (NAMES, CLASSES, [0, 1, 1])
    np.testing.assert_allclose(found.probabilities_NK, PROBABILITIES_NK, rtol=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "path,label,ants\n",
        "name,label,ants\nx.png,ants,1\n",
        "path,label,ants\nx.png,bees,1\n",
        "path,label,ants\nx.png,ants,many\n",
        "path,label,ants,bees\nx.png,ants,1,0\ny.png,ants,1\n",
    ],
)
def test_a_damaged_table_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "held_out.csv").write_text(content)
    with pytest.raises(RunError, match=r"held_out\.csv is damaged"):
        load_answers(tmp_path / "held_out.csv")


def test_a_missing_table_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no answers on held-out images"):
        load_answers(tmp_path / "held_out.csv")


def test_classes_called_like_columns_are_told_apart_and_read_back(tmp_path: Path) -> None:
    classes = ("path", "label", "class:path", "class:class:label", "class:other")
    assert class_columns(classes, ("path", "label")) == [
        "class:path",
        "class:label",
        "class:class:path",
        "class:class:class:label",
        "class:other",
    ]
    answers = Answers(("a.png", "b.png"), classes, np.array([0, 2]), np.full((2, 5), 0.2))
    save_answers(tmp_path / "held_out.csv", answers)
    found = load_answers(tmp_path / "held_out.csv")
    assert found.classes == classes and found.labels_N.tolist() == [0, 2]
