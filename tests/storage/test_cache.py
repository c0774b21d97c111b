"""An answer that was found before is found again, and only to that question; a bad disk costs time alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from finetune_advisor.storage.cache import Memory

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


DAMAGES = {"empty": b"", "cut short": b'{"a third": 0.3', "another form": b'{"a third": "x"}', "no text": b"\xff\0"}


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_removed_with_one_plain_line(
    memory: Memory[Counts], content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    memory.keep(ANSWER)
    memory.path.write_bytes(content)
    assert memory.recall() is None
    [record] = caplog.records
    assert record.getMessage() == f"an entry of the cache is damaged; it is removed and computed again: {memory.path}"
    assert not memory.path.exists()
    assert memory.recall() is None and len(caplog.records) == 1, "it is said once"
    memory.keep(ANSWER)
    assert memory.recall() == ANSWER


def test_a_disk_that_takes_nothing_costs_a_warning(
    memory: Memory[Counts], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with caplog.at_level(logging.WARNING):
        memory.keep(ANSWER)
    assert "the next command counts again" in caplog.text
    assert memory.recall() is None
