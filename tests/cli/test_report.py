"""`finetune-advisor report` and `compare`: what scripts get and what a person reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def run(probe_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(probe_run, tmp_path / "copy"))


def test_the_page_is_written_and_its_place_is_told(cli: Command, run: Path) -> None:
    document = json.loads(cli("report", run, "--json").stdout)
    assert document == {"report": str(run / "report.html")}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "bees, wild" in page and "[red]wasps" in page
    assert "holds no finished run" in cli("report", run.parent, code=1).stderr


def test_a_run_and_its_copy_cannot_be_told_apart(cli: Command, run: Path, probe_run: Path) -> None:
    assert "they cannot be told apart" in " ".join(cli("compare", probe_run, run).stdout.split())
    document = json.loads(cli("compare", probe_run, run, "--json").stdout)
    assert document["leads"][0]["told_apart"] is False and document["recipes"] == {}
    assert "two or more runs" in cli("compare", run, code=1).stderr
