"""Probe scores are found once for the same question."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.analysis.probe_cache import remembered
from finetune_advisor.artifacts.profile import ProbeScore

SCORES = (ProbeScore(stage="stem", accuracy=0.5, std=0.1, log_loss=0.7, strength=1e-3),)
QUESTION = {
    "instrument": "net-1",
    "contents": ["aa", "bb"],
    "labels_N": np.array([0, 1]),
    "fold_N": np.array([0, 1]),
    "strengths": (1e-3,),
}


class Fits:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> tuple[ProbeScore, ...]:
        self.count += 1
        return SCORES


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_same_question_is_answered_without_fitting(cache: Path) -> None:
    fits = Fits()
    assert remembered(fits, **QUESTION) == remembered(fits, **QUESTION) == SCORES
    assert fits.count == 1


@pytest.mark.parametrize(
    "change",
    [
        {"instrument": "net-2"},
        {"contents": ["aa", "cc"]},
        {"labels_N": np.array([1, 0])},
        {"fold_N": np.array([1, 0])},
        {"strengths": (1e-2,)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_anything_that_matters_is_a_new_question(cache: Path, change: dict[str, object]) -> None:
    fits = Fits()
    remembered(fits, **QUESTION)
    remembered(fits, **{**QUESTION, **change})
    assert fits.count == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'[{"stage": "stem"}]'])
def test_a_damaged_answer_is_found_again(cache: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    fits = Fits()
    remembered(fits, **QUESTION)
    (path,) = cache.rglob("*.json")
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert remembered(fits, **QUESTION) == SCORES
    assert fits.count == 2
    assert "found again" in caplog.text


def test_a_disk_that_refuses_only_costs_the_next_analysis(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (cache / "finetune-advisor").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert remembered(Fits(), **QUESTION) == SCORES
    assert "fits the linear classifiers again" in caplog.text
