"""Every record arrives in the tracker, and a tracker that is missing is told before any work."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.records.history import Record
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.tracker import PROJECT, scalars, tracked
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

PLAIN = {"ants": 10, "bees": 10}
SHORT = ("budget.epochs=2", "optimizer.batch=8")
RECORD = Record(30, 2.0, {"head": 1e-3}, 1.5, 0.5, 1.25, 0.75, 100.0, 9.0)


def test_tensorboard_holds_what_the_history_says(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = RunDir(tmp_path / "run")
    train(recipe("few_layers", image_folder(PLAIN), *SHORT, "runtime.tracker=tensorboard"), run)
    events = accumulator.EventAccumulator(str(run.tensorboard)).Reload()
    records = run.load_history()
    assert len(records) == 2
    assert {"train/loss", "val/accuracy", "lr/head", "lr/body"} <= set(events.Tags()["scalars"])
    for name in events.Tags()["scalars"]:
        told = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(record.step, scalars(record)[name]) for record in records]
        assert told == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_missing_is_told_before_any_work(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda asked: None)
    run = RunDir(tmp_path / "run")
    with pytest.raises(RunError, match=f"runtime.tracker is {name}, which is not installed") as caught:
        train(recipe("few_layers", image_folder(PLAIN), f"runtime.tracker={name}"), run)
    assert f"pip install {name}" in str(caught.value.hint)
    assert not run.path.exists()


def test_tensorboard_shows_a_record_while_the_run_goes_on(recipe: MakeRecipe, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = RunDir(tmp_path / "run")
    with tracked(recipe("few_layers", tmp_path, "runtime.tracker=tensorboard"), run) as log:
        log(RECORD)
        events = accumulator.EventAccumulator(str(run.tensorboard)).Reload()
        assert [(event.step, event.value) for event in events.Scalars("val/loss")] == [(30, 1.25)]


def test_wandb_is_told_the_recipe_and_every_record_and_prints_no_traceback(
    recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, Any]] = []

    class WandbRun:
        """What of wandb's run is used; like it, its `with` prints the traceback of what leaves the block."""

        def log(self, values: dict[str, float], step: int) -> None:
            told.append(("log", (values, step)))

        def finish(self) -> None:
            told.append(("finish", None))

        def __enter__(self) -> WandbRun:
            return self

        def __exit__(self, *_: object) -> None:
            print("Traceback")

    def init(**settings: Any) -> WandbRun:
        told.append(("init", settings))
        return WandbRun()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    chosen, run = recipe("few_layers", tmp_path, "runtime.tracker=wandb"), RunDir(tmp_path / "data-1")
    with pytest.raises(KeyboardInterrupt), tracked(chosen, run) as log:
        log(RECORD)
        raise KeyboardInterrupt
    settings = {"project": PROJECT, "name": "data-1", "dir": str(run.path), "config": chosen.model_dump(mode="json")}
    assert told == [("init", settings), ("log", (scalars(RECORD), 30)), ("finish", None)]
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "there", "experiment"),
    [({}, False, "new"), ({}, True, "old"), ({"MLFLOW_EXPERIMENT_NAME": "mine"}, True, None)],
)
def test_mlflow_gets_a_run_in_our_experiment_or_in_the_one_of_the_environment(
    recipe: MakeRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    there: bool,
    experiment: str | None,
) -> None:
    told: list[tuple[str, Any]] = []
    mlflow = SimpleNamespace(
        get_experiment_by_name=lambda name: SimpleNamespace(experiment_id="old") if there and name == PROJECT else None,
        create_experiment=lambda name: "new" if name == PROJECT else pytest.fail(name),
        start_run=lambda **settings: told.append(("start", settings)),
        log_metrics=lambda values, step: told.append(("log", (values, step))),
        end_run=lambda: told.append(("end", None)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with tracked(recipe("few_layers", tmp_path, "runtime.tracker=mlflow"), RunDir(tmp_path / "data-1")) as log:
        log(RECORD)
    settings = {"experiment_id": experiment, "run_name": "data-1"}
    assert told == [("start", settings), ("log", (scalars(RECORD), 30)), ("end", None)]
