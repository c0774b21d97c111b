"""What is known to be bad stays known, with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.images.decode import ReasonStore


def test_reasons_outlive_the_process(tmp_path: Path) -> None:
    reasons = {"a1": "it is damaged (été)", "b2": "it is damaged (caf\udce9)"}
    ReasonStore(tmp_path / "bad").save(reasons)
    ReasonStore(tmp_path / "bad").save({"c3": "the file is empty"})
    assert ReasonStore(tmp_path / "bad").load(["a1", "b2", "sound"]) == reasons


def test_in_memory_nothing_touches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ReasonStore(None)
    store.save({"a1": "the file is empty"})
    assert store.load(["a1"]) == {}
    assert not list(tmp_path.iterdir())


def test_no_bad_files_leave_no_folder(tmp_path: Path) -> None:
    ReasonStore(tmp_path / "bad").save({})
    assert not (tmp_path / "bad").exists()
