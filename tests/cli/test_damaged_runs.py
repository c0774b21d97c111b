"""A run folder of which a file is gone or damaged: each command works without it, or names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command

COMMANDS = {
    "diagnose": ("diagnose", "copy"),
    "report": ("report", "copy"),
    "compare": ("compare", "copy", "other"),
    "predict": ("predict", "copy", "new", "--quiet"),
    "evaluate": ("evaluate", "copy", "new"),
    "export": ("export", "copy", "--format", "hub", "-o", "exported"),
    "ensemble": ("ensemble", "copy", "other", "--kind", "cross_validation", "-o", "out"),
}

NEEDED = {
    "diagnosis.json": (),
    "environment.json": (),
    "history.jsonl": (),
    "run.log": (),
    "held_out.csv": ("ensemble",),
    "metrics.json": ("report", "compare", "export", "ensemble"),
    "model/config.json": ("predict", "evaluate", "export", "ensemble"),
    "model/model.safetensors": ("predict", "evaluate", "export", "ensemble"),
    "predictions.csv": ("report", "compare"),
    "recipe.yaml": ("diagnose", "report", "compare", "export", "ensemble"),
    "splits.csv": ("export", "ensemble"),
}
"""File of a run -> the commands that cannot do without it."""

DAMAGED = {
    **NEEDED,
    "history.jsonl": ("diagnose", "report"),
    "splits.csv": ("diagnose", "report", "export", "ensemble"),
    "metrics.json": ("diagnose", "report", "compare", "export"),
}
"""File of a run -> the commands that cannot use it as it is, though some could do without it."""


@pytest.fixture
def place(cli: Command, probe_run: Path, new_images: Path) -> Path:
    """An empty folder with two runs, `copy` and `other`, and images that are `new`."""
    for name in ("copy", "other"):
        shutil.copytree(probe_run, name)
    Path("new").symlink_to(new_images)
    return Path()


@pytest.mark.parametrize("file", NEEDED)
def test_a_file_that_is_gone_is_not_missed_or_named(cli: Command, place: Path, file: str) -> None:
    path = place / "copy" / file
    path.unlink(missing_ok=True)  # a run through the API keeps no diagnosis
    for name, words in COMMANDS.items():
        if name in NEEDED[file]:
            said = cli(*words, code=1).stderr
            assert path.name in said or "has not finished" in said, (name, said)
            assert "Shipped recipes" not in said, "no other recipe is that of this run"
        elif name != "ensemble":  # which takes its time where nothing is wrong
            cli(*words)


@pytest.mark.parametrize("file", [name for name in DAMAGED if name not in ("environment.json", "run.log")])
def test_a_file_that_is_damaged_is_named(cli: Command, place: Path, file: str) -> None:
    path = place / "copy" / file
    path.write_bytes(b"{}" if path.suffix.startswith(".json") else b"\x00\xff,\x1b[31m\n1,2\n")
    for name in DAMAGED[file]:
        said = cli(*COMMANDS[name], code=1).stderr
        assert path.name in said or f"the model in {path.parent}" in said, (name, said)
        assert "\x1b" not in said


def test_a_damaged_diagnosis_is_made_again(cli: Command, place: Path) -> None:
    Path("copy/diagnosis.json").write_text("{}")
    assert "diagnosed again" in cli("report", "copy").stderr
    assert json.loads(Path("copy/diagnosis.json").read_text())["finished"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"val": None, "test": None}, "scores of neither val nor test"),
        ({"val": "good"}, "val: "),
        ({"classes": ["ants"]}, "1 classes, and scores of others"),
        ({"seconds": {}}, "total or images is missing"),
    ],
)
def test_metrics_that_contradict_themselves_are_refused(
    cli: Command, place: Path, change: dict[str, Any], says: str
) -> None:
    path = place / "copy" / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    error = cli("report", "copy", code=1).stderr
    assert "metrics.json is damaged" in error and says in error


def test_a_history_of_nothing_but_nan_is_read_as_far_as_it_goes(cli: Command, place: Path) -> None:
    path = place / "copy" / "history.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    broken = [{**one, "val_loss": float("nan"), "val_accuracy": float("nan")} for one in records]
    path.write_text("".join(json.dumps(one) + "\n" for one in broken))
    cli("diagnose", "copy")
    cli("report", "copy")


def test_an_ensemble_is_not_gone_on_with_as_a_run(cli: Command, place: Path) -> None:
    shutil.copy("copy/metrics.json", "copy/plan.json")
    error = cli("run", "--resume", "--run-dir", "copy", code=1).stderr
    assert "holds an ensemble, which is finished" in error and "`finetune-advisor ensemble`" in error
