"""Whenever a run is stopped after it began, it says how to go on, and that works."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from safetensors.torch import load_file

from finetune_advisor.errors import Interrupted, RunError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import NumberedRun, RunDir
from finetune_advisor.training.network import Setup
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Clock, Watcher
from finetune_advisor.workflows.run import run_and_draw
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

PLAIN = {"ants": 8, "bees": 8}
SHORT = ("budget.epochs=2", "optimizer.batch=8")

Make = Callable[[tuple[str, ...]], Recipe]
"""A recipe of images that are there, from the name of a shipped one and settings."""


class PressIn(Protocol):
    """Presses Ctrl-C, or sends another signal, during a call of a function; see the fixture `press_in`."""

    def __call__(self, target: str, number: int = 1, signal_number: signal.Signals = signal.SIGINT) -> None: ...


@pytest.fixture
def press_in(monkeypatch: pytest.MonkeyPatch) -> PressIn:
    """`press_in("module.function", 2)`: Ctrl-C during the second call of a function, once."""

    def arm(target: str, number: int = 1, signal_number: signal.Signals = signal.SIGINT) -> None:
        owner, _, name = target.rpartition(".")
        calls: list[int] = []

        def pressing(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == number:
                os.kill(os.getpid(), signal_number)
            return original(*args, **kwargs)

        if owner == "Setup":
            original = getattr(Setup, name)
            monkeypatch.setattr(Setup, name, pressing)
        else:
            original = getattr(__import__(owner, fromlist=[name]), name)
            monkeypatch.setattr(target, pressing)

    return arm


def stopped(settings: tuple[str, ...], run: RunDir, make: Make, says: str) -> None:
    with pytest.raises(Interrupted, match=says) as caught:
        run_and_draw(make(settings), run)
    assert caught.value.exit_code == 130
    assert caught.value.hint == f"Go on with: finetune-advisor run --run-dir {run.path} --resume"


@pytest.fixture
def make(image_folder: ImageFolder, recipe: MakeRecipe) -> Make:
    data = image_folder(PLAIN)
    return lambda settings: recipe(settings[0], data, *settings[1:])


@pytest.mark.parametrize(("evaluation", "step"), [(1, 2), (2, 4)], ids=["first", "last"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_during_an_evaluation_is_heard_after_it(
    make: Make, tmp_path: Path, press_in: PressIn, evaluation: int, step: int, number: signal.Signals
) -> None:
    run = RunDir(tmp_path / "run")
    press_in("Setup.evaluate", evaluation, number)
    stopped(("few_layers", *SHORT), run, make, f"Stopped by {number.name} after step {step} of 4; the state is saved")
    assert len(run.load_history()) == evaluation, "what was evaluated is written down"
    assert not run.finished
    run_and_draw(load_recipe(run.recipe), run, resume=True)
    whole = train(make(("few_layers", *SHORT)), RunDir(tmp_path / "whole"))
    ours, theirs = (load_file(each.model / "model.safetensors") for each in (run, whole))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


@pytest.mark.parametrize(
    ("settings", "where", "saved"),
    [
        (("linear_probe",), "finetune_advisor.training.trainer.fit_probe", "nothing is trained yet"),
        (("linear_probe",), "finetune_advisor.training.trainer.save_results", "nothing is trained yet"),
        (("few_layers", *SHORT), "finetune_advisor.training.fine_tune.save_network", "what was saved is whole"),
        (("few_layers", *SHORT), "finetune_advisor.workflows.run.write_run_page", "what was saved is whole"),
        (("linear_probe",), "finetune_advisor.workflows.run.write_run_page", "what was saved is whole"),
    ],
    ids=["fitting", "scoring", "saving the model", "drawing", "drawing a probe"],
)
def test_a_stop_at_any_other_moment_can_be_resumed(
    make: Make, tmp_path: Path, press_in: PressIn, settings: tuple[str, ...], where: str, saved: str
) -> None:
    run = RunDir(tmp_path / "run")
    press_in(where)
    stopped(settings, run, make, f"Stopped by Ctrl-C before the run was finished; {saved}")
    run_and_draw(load_recipe(run.recipe), run, resume=True)
    assert run.finished and run.drawn


def test_a_stop_before_the_run_began_is_no_run_to_resume(make: Make, tmp_path: Path, press_in: PressIn) -> None:
    press_in("finetune_advisor.training.prepare.open_dataset")
    with pytest.raises(KeyboardInterrupt):
        train(make(("linear_probe",)), RunDir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_figures_that_are_missing_are_drawn_without_training_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_and_draw(make(("linear_probe",)), RunDir(tmp_path / "run"))
    run.report.unlink()
    monkeypatch.setattr("finetune_advisor.workflows.run.train", lambda *_, **__: pytest.fail("it is finished"))
    run_and_draw(load_recipe(run.recipe), run, resume=True)
    assert run.drawn


class Meddles(Watcher):
    """Starts another writer as soon as the folder is there."""

    def __init__(self, begin: Callable[[Path], object]) -> None:
        self.begin = begin
        self.folders: list[Path] = []

    def on_folder(self, folder: Path) -> None:
        self.folders.append(folder)
        with pytest.raises(RunError, match=rf"another process is writing this run \(pid {os.getpid()}\)"):
            self.begin(folder)


@pytest.mark.parametrize("resume", [False, True])
def test_a_live_run_has_no_second_writer(make: Make, tmp_path: Path, resume: bool) -> None:
    meddles = Meddles(lambda folder: train(make(("linear_probe",)), RunDir(folder), resume=resume))
    run = train(make(("linear_probe",)), NumberedRun(tmp_path / "runs", "data"), watcher=meddles)
    assert meddles.folders == [run.path] == [tmp_path / "runs" / "data-1"]
    assert run.finished
    assert not (run.path / ".lock").exists()


def test_the_seconds_of_all_parts_add_up(
    make: Make, tmp_path: Path, press_in: PressIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "run")
    press_in("Setup.evaluate")
    ticks = iter(range(0, 10**6, 100))
    monkeypatch.setattr("finetune_advisor.training.trainer.Clock", lambda: Clock(ticks.__next__))
    stopped(("few_layers", *SHORT), run, make, "after step 2 of 4")
    run_and_draw(load_recipe(run.recipe), run, resume=True)
    seconds = json.loads(run.metrics.read_text())["seconds"]
    assert seconds["images"] == 2 * 100, "a tick of the clock in each part"
    # The first part saves the best and the last checkpoint, a tick each; the second saves the last and ends.
    assert seconds["training"] >= (2 + 2) * 100
    assert seconds["total"] == seconds["images"] + seconds["training"]


def test_the_log_says_what_a_person_saw(make: Make, tmp_path: Path) -> None:
    log = train(make(("few_layers", *SHORT)), RunDir(tmp_path / "run")).log.read_text()
    assert log.count("INFO epoch   ") == 2
    assert "Record(" not in log
    log = train(make(("linear_probe",)), RunDir(tmp_path / "probe")).log.read_text()
    assert log.count("out of fold: accuracy") == 9
    assert log.count("← chosen") == 1
