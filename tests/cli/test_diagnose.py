"""`finetune-advisor diagnose`: what is said, and the recipe that is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.records.history import save_history
from finetune_advisor.records.rundir import RunDir
from tests.cli.conftest import Command


@pytest.fixture
def run(probe_run: Path, tmp_path: Path) -> Path:
    """A probe that chose the largest strength it was allowed to."""
    folder = Path(shutil.copytree(probe_run, tmp_path / "copy"))
    records = RunDir(folder).load_history()
    chosen = [replace(one, chosen=one is records[-1], val_accuracy=0.9) for one in records]
    save_history(RunDir(folder).history, chosen)
    return folder


def test_the_edit_is_shown_written_and_can_be_compared(cli: Command, run: Path) -> None:
    result = cli("diagnose", run, "--apply", "better.yaml")
    assert "the largest strength, 0.01, was chosen" in result.stdout and "→ strategy.strengths: [" in result.stdout
    assert "# the best was at the edge of the range" in Path("better.yaml").read_text()
    [difference] = json.loads(cli("recipes", "diff", run / "recipe.yaml", "better.yaml", "--json").stdout)
    assert difference["key"] == "strategy.strengths" and "0.1]" in difference["after"]
    document = json.loads(cli("diagnose", run, "--json").stdout)
    assert document == json.loads((run / "diagnosis.json").read_text())


def test_a_file_that_is_there_is_not_overwritten(cli: Command, run: Path) -> None:
    Path("mine.yaml").write_text("mine")
    assert "mine.yaml is there already" in cli("diagnose", run, "--apply", "mine.yaml", code=1).stderr
    assert Path("mine.yaml").read_text() == "mine"
    cli("diagnose", run, "--apply", "mine.yaml", "--force")
    assert Path("mine.yaml").read_text() != "mine"


def test_what_is_no_run_is_refused(cli: Command, tmp_path: Path) -> None:
    assert "is no run" in cli("diagnose", tmp_path, code=1).stderr


def test_a_probe_that_is_always_right_needs_no_other_strength(cli: Command, run: Path) -> None:
    records = RunDir(run).load_history()
    save_history(RunDir(run).history, [replace(one, val_accuracy=1.0) for one in records])
    assert "Nothing to mend" in cli("diagnose", run).stdout
