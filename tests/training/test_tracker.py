"""Every record arrives in the tracker, and a tracker that is missing is told before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.tracker import scalars
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

PLAIN = {"ants": 10, "bees": 10}
SHORT = ("budget.epochs=2", "optimizer.batch=8")


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
