"""The history is written line by line and read whatever happened in the middle of a line."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.records.history import Record, append_record, load_history, save_history, summary

RECORD = Record(
    step=10,
    epoch=1.0,
    lr={"head": 1e-3, "body": 1e-4},
    train_loss=0.7,
    train_accuracy=0.5,
    val_loss=0.6,
    val_accuracy=0.75,
    images_per_second=None,
    seconds=3.5,
)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Three records, appended one by one."""
    path = tmp_path / "history.jsonl"
    for step in (10, 20, 30):
        append_record(path, replace(RECORD, step=step))
    return path


def test_records_come_back_in_order(history: Path) -> None:
    assert load_history(history) == tuple(replace(RECORD, step=step) for step in (10, 20, 30))


def test_a_record_is_on_the_disk_when_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flushed = tmp_path / "history.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_size))
    append_record(path, RECORD)
    assert flushed == [path.stat().st_size] != [0]


def test_the_summary_holds_what_a_person_watches() -> None:
    assert summary(RECORD) == "epoch   1.0  train loss 0.700  acc 0.500  val loss 0.600  acc 0.750"
    assert summary(replace(RECORD, images_per_second=12.3)).endswith("  12 images/s")
    probe = replace(RECORD, strength=1e-4)
    assert summary(probe) == "strength 0.0001   out of fold: accuracy 0.750, loss 0.600"
    assert summary(replace(probe, chosen=True)) == f"{summary(probe)}  ← chosen"


def test_without_a_file_nothing_has_happened_yet(tmp_path: Path) -> None:
    assert load_history(tmp_path / "history.jsonl") == ()


def test_a_line_that_a_crash_cut_short_is_left_out(history: Path) -> None:
    history.write_text(history.read_text()[:-20])
    assert [record.step for record in load_history(history)] == [10, 20]


def test_a_resume_replaces_the_history(history: Path) -> None:
    save_history(history, load_history(history)[:1])
    append_record(history, replace(RECORD, step=15))
    assert [record.step for record in load_history(history)] == [10, 15]


def test_what_is_not_finite_is_null_so_that_every_line_is_json(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_record(path, replace(RECORD, train_loss=math.nan, val_loss=math.inf))
    assert json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))["train_loss"] is None
    assert load_history(path)[0].val_loss is None


def test_what_another_program_wrote_as_not_finite_is_none_too(history: Path) -> None:
    values = json.loads(history.read_text().splitlines()[0])
    history.write_text(json.dumps({**values, "val_loss": math.nan, "lr": {"head": math.inf, "body": 0.1}}) + "\n")
    assert load_history(history) == (replace(RECORD, val_loss=None, lr={"body": 0.1}),)


@pytest.mark.parametrize(
    ("key", "value"),
    [("val_loss", "oops"), ("epoch", None), ("epoch", math.nan), ("lr", [1, 2]), ("events", 3), ("update_ratio", 0.1)],
)
def test_a_value_that_is_no_number_is_named(history: Path, key: str, value: object) -> None:
    lines = history.read_text().splitlines()
    history.write_text("\n".join([lines[0], json.dumps({**json.loads(lines[1]), key: value}), lines[2]]) + "\n")
    with pytest.raises(RunError, match=rf"history\.jsonl:2 is damaged: .*\({key}: "):
        load_history(history)


def test_records_of_a_probe_and_of_a_training_do_not_mix(history: Path) -> None:
    append_record(history, replace(RECORD, strength=0.1))
    with pytest.raises(RunError, match="only some of its records are of a probe"):
        load_history(history)


@pytest.mark.parametrize("line", ["half a rec", "7", '{"step": 20}'])
def test_a_damaged_line_is_named(history: Path, line: str) -> None:
    lines = history.read_text().splitlines()
    history.write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    with pytest.raises(RunError, match=r"history\.jsonl:2 is damaged"):
        load_history(history)


def test_keys_of_a_later_version_are_passed_over(history: Path) -> None:
    values = json.loads(history.read_text().splitlines()[0])
    history.write_text(json.dumps({**values, "temperature": 1.5}) + "\n")
    assert load_history(history) == (RECORD,)
