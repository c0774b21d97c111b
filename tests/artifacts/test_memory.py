"""An answer that was found before is found again, and only to that question; a bad disk costs time alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from finetune_advisor.artifacts import storage
from finetune_advisor.artifacts.memory import Memory

Counts = dict[str, float]

ANSWER: Counts = {"a third": 1 / 3, "été": 2.0}


def memory_of(*question: object) -> Memory[Counts]:
    return Memory.of("counts", Counts, *question, costs="counts")


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory[Counts]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return memory_of("these images", 224, 0.2)


def test_what_was_kept_is_recalled_for_the_same_question_alone(memory: Memory[Counts]) -> None:
    assert memory.recall() is None
    memory.keep(ANSWER)
    assert memory_of("these images", 224, 0.2).recall() == ANSWER
    assert memory_of("these images", 225, 0.2).recall() is None


def test_a_name_that_is_no_text_can_be_part_of_the_question(memory: Memory[Counts]) -> None:
    memory.keep(ANSWER)
    assert memory_of("caf\udce9").recall() is None


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_answer_is_made_again(memory: Memory[Counts], share: float, caplog: pytest.LogCaptureFixture) -> None:
    memory.keep(ANSWER)
    whole = memory.path.read_bytes()
    memory.path.write_bytes(whole[: int(share * len(whole))])
    assert memory.recall() is None
    assert "is made again" in caplog.text
    memory.keep(ANSWER)
    assert memory.recall() == ANSWER


def test_a_disk_that_takes_nothing_costs_a_warning(
    memory: Memory[Counts], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage.Path, "mkdir", refuse)
    with caplog.at_level(logging.WARNING):
        memory.keep(ANSWER)
    assert "the next command counts again" in caplog.text
    assert memory.recall() is None
