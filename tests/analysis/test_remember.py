"""An analysis that was made before is found again, and only that one; a bad disk costs time alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from finetune_advisor.analysis.remember import Memory
from finetune_advisor.artifacts import storage
from finetune_advisor.artifacts.profile import Profile


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Memory.of("these images", 224, 0.2)


def test_what_was_kept_is_recalled_for_the_same_question_alone(memory: Memory, profile: Profile) -> None:
    assert memory.recall() is None
    memory.keep(profile)
    assert Memory.of("these images", 224, 0.2).recall() == profile
    assert Memory.of("these images", 225, 0.2).recall() is None


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_answer_is_made_again(
    memory: Memory, profile: Profile, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    memory.keep(profile)
    whole = memory.path.read_bytes()
    memory.path.write_bytes(whole[: int(share * len(whole))])
    assert memory.recall() is None
    assert "is made again" in caplog.text
    memory.keep(profile)
    assert memory.recall() == profile


def test_a_disk_that_takes_nothing_costs_a_warning(
    memory: Memory, profile: Profile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage.Path, "mkdir", refuse)
    with caplog.at_level(logging.WARNING):
        memory.keep(profile)
    assert "the next analysis fits the linear classifiers again" in caplog.text
    assert memory.recall() is None
