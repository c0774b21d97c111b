"""A run repeats to the same bits, and goes on after any interruption as if there had been none."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from finetune_advisor.errors import DataError, Interrupted, RunError, StorageError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import Record
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.loop import Evaluation
from finetune_advisor.training.network import Setup
from finetune_advisor.training.state import Identity, TrainState
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Progress, Watcher
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

PLAIN = {"ants": 10, "bees": 10}
SHORT = ("budget.epochs=2", "optimizer.batch=8")
LIVELY = (
    "budget.epochs=3",
    "optimizer.batch=6",
    "optimizer.lr=0.02",
    "strategy.batch_norm=train",
    "regularization=[{kind: dropout, rate: 0.5}, {kind: l2, strength: 0.01, decoupled: true}]",
    "schedule={kind: plateau, factor: 0.5, patience: 0, threshold: 0.5}",
)
"""Everything random is on, statistics and rate move: 16 training images are 3 steps an epoch, 9 in all."""
CACHED = "strategy.cached_views=4"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def metrics_of(run: RunDir) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(run.metrics.read_text())
    return loaded


def timeless(records: tuple[Record, ...]) -> list[Record]:
    return [replace(record, seconds=0.0, images_per_second=None) for record in records]


def assert_same_run(ours: RunDir, theirs: RunDir) -> None:
    assert timeless(ours.load_history()) == timeless(theirs.load_history())
    assert (ours.model / "model.safetensors").read_bytes() == (theirs.model / "model.safetensors").read_bytes()
    assert ours.predictions.read_text() == theirs.predictions.read_text()
    assert {**metrics_of(ours), "seconds": None} == {**metrics_of(theirs), "seconds": None}


def resumed(run: RunDir, watcher: Watcher | None = None) -> RunDir:
    return train(load_recipe(run.recipe), run, resume=True, watcher=watcher)


def test_the_same_seed_repeats_a_run_and_another_does_not(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder(PLAIN)
    first, again = (train(recipe("few_layers", data, *SHORT), RunDir(tmp_path / name)) for name in ("a", "b"))
    assert_same_run(first, again)
    other = train(recipe("few_layers", data, *SHORT, "seed=1"), RunDir(tmp_path / "c"))
    assert (other.model / "model.safetensors").read_bytes() != (first.model / "model.safetensors").read_bytes()
    assert other.splits.read_text() != first.splits.read_text()


@pytest.fixture
def lively(image_folder: ImageFolder, recipe: MakeRecipe) -> Recipe:
    return recipe("many_layers", image_folder(PLAIN), *LIVELY, CACHED)


@pytest.fixture
def whole(lively: Recipe, tmp_path: Path) -> RunDir:
    """The run that nobody interrupts."""
    return train(lively, RunDir(tmp_path / "whole"))


@pytest.mark.parametrize(
    "steps", [(1,), (3,), (9,), tuple(range(1, 10))], ids=["mid epoch", "epoch's end", "last step", "all"]
)
def test_an_interrupted_run_resumes_to_the_same_bits(
    lively: Recipe, whole: RunDir, tmp_path: Path, steps: tuple[int, ...], stop_at: type[StopAt]
) -> None:
    assert [r.lr["head"] for r in whole.load_history() if r.lr] == [0.02, 0.02, 0.01], "the plateau has acted"
    run = RunDir(tmp_path / "stopped")
    for number, step in enumerate(steps):
        with pytest.raises(
            Interrupted, match=f"Stopped by SIGINT after step {step} of 9; the state is saved"
        ) as caught:
            if number:
                resumed(run, stop_at(step))
            else:
                train(lively, run, watcher=stop_at(step))
        assert f"finetune-advisor run --run-dir {run.path} --resume" in str(caught.value.hint)
        assert not run.finished
        assert not run.model.exists()
    assert_same_run(resumed(run), whole)


@pytest.mark.parametrize("step", [2, 3, 5, 6])
def test_a_run_stopped_in_the_middle_of_gradual_unfreezing_resumes_to_the_same_bits(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, step: int, stop_at: type[StopAt]
) -> None:
    """Of 12 steps, 3 an epoch: two stages join after the third, two after the sixth, one after the ninth."""
    gradual = (
        "strategy={kind: gradual_unfreezing, stages: 5, stages_per_unfreeze: 2, batch_norm: train}",
        "mixing={kind: cutmix}",
    )
    chosen = recipe("gradual_unfreezing", image_folder(PLAIN), *LIVELY, "budget.epochs=4", *gradual)
    whole, run = train(chosen, RunDir(tmp_path / "whole")), RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(chosen, run, watcher=stop_at(step))
    assert_same_run(resumed(run), whole)


@pytest.mark.parametrize("averaging", ["{kind: ema, decay: 0.9}", "{kind: swa, start: 0.3}"], ids=["ema", "swa"])
def test_an_average_resumes_to_the_same_bits(
    lively: Recipe, recipe: MakeRecipe, tmp_path: Path, averaging: str, stop_at: type[StopAt]
) -> None:
    chosen = recipe("many_layers", Path(lively.data.path), *LIVELY, CACHED, f"averaging={averaging}")
    whole, run = train(chosen, RunDir(tmp_path / "averaged")), RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(chosen, run, watcher=stop_at(4))
    with pytest.raises(Interrupted):
        resumed(run, stop_at(9))
    assert_same_run(resumed(run), whole)


def test_sigterm_saves_the_state_too_and_handlers_are_put_back(
    lively: Recipe, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted, match="Stopped by SIGTERM after step 2"):
        train(lively, run, watcher=stop_at(2, signal.SIGTERM))
    assert run.last.is_file()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_ctrl_c_acts_at_once_and_the_last_checkpoint_is_good(
    lively: Recipe, whole: RunDir, tmp_path: Path
) -> None:
    class Impatient(Watcher):
        def on_step(self, progress: Progress) -> None:
            if progress.step == 5:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted, match="Stopped by SIGINT before the run was finished") as caught:
        train(lively, run, watcher=Impatient())
    assert run.resume_command in str(caught.value.hint)
    assert_same_run(resumed(run), whole)


class Crash(BaseException):
    """What a killed process does not catch."""


@pytest.fixture
def crash_at_save(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the process die where it would save its n-th checkpoint from now on."""

    def arm(number: int) -> None:
        calls = iter(range(1, 100))
        save = TrainState.save

        def dying(self: TrainState, path: Path, *, identity: Identity) -> None:
            if next(calls) == number:
                raise Crash
            save(self, path, identity=identity)

        monkeypatch.setattr(TrainState, "save", dying)

    return arm


@pytest.mark.parametrize(("number", "records"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_a_crash_between_history_and_checkpoint_leaves_no_trace(
    lively: Recipe, whole: RunDir, tmp_path: Path, crash_at_save: Callable[[int], None], number: int, records: int
) -> None:
    run = RunDir(tmp_path / "crashed")
    crash_at_save(number)
    with pytest.raises(Crash):
        train(lively, run)
    assert len(run.load_history()) == records, "the record is there, its checkpoint is not"
    crash_at_save(99)
    assert_same_run(resumed(run), whole)


def test_a_crash_in_the_middle_of_a_line_leaves_no_trace(
    lively: Recipe, whole: RunDir, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    run = RunDir(tmp_path / "crashed")
    with pytest.raises(Interrupted):
        train(lively, run, watcher=stop_at(4))
    with run.history.open("a") as stream:
        stream.write('{"step": 6, "epo')
    assert_same_run(resumed(run), whole)


def test_a_run_killed_before_its_results_writes_them_when_resumed(
    lively: Recipe, whole: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "killed")

    def killed(*args: Any, **kwargs: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("finetune_advisor.training.trainer.save_results", killed)
        with pytest.raises(Crash):
            train(lively, run)
    assert not run.finished
    assert_same_run(resumed(run), whole)


def test_early_stopping_ends_a_run_that_makes_no_progress(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    still = ("optimizer.lr=1.0e-12", "optimizer.batch=8", "budget.epochs=9", "budget.early_stopping=2")
    run = train(recipe("few_layers", image_folder(PLAIN), *still), RunDir(tmp_path / "run"))
    assert [record.epoch for record in run.load_history()] == [1, 2, 3]
    assert "stopped early" in run.log.read_text()
    run.metrics.unlink()
    assert [record.epoch for record in resumed(run).load_history()] == [1, 2, 3], "it does not start again"


def test_the_best_weights_are_kept_not_the_last(
    lively: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(Setup, "evaluate", lambda self: Evaluation(next(scores), accuracy=0.5, loss=1.0))
    run = train(lively, RunDir(tmp_path / "run"))
    best, last, kept = (load_file(path) for path in (run.best, run.last, run.model / "model.safetensors"))
    assert all((kept[name] == best[f"net.{name}"]).all() for name in kept)
    assert any((kept[name] != last[f"net.{name}"]).any() for name in kept)


def interrupted(recipe: Recipe, run: RunDir, stop_at: Any) -> RunDir:
    with pytest.raises(Interrupted):
        train(recipe, run, watcher=stop_at(2))
    return run


def test_images_that_changed_cannot_be_resumed(lively: Recipe, tmp_path: Path, stop_at: type[StopAt]) -> None:
    run = interrupted(lively, RunDir(tmp_path / "run"), stop_at)
    before = run.last.read_bytes()
    picture = Path(lively.data.path) / "ants" / "000.png"
    Image.new("RGB", (40, 32), "navy").save(picture)
    with pytest.raises(RunError, match=r"1 image changed: ants/000\.png"):
        resumed(run)
    picture.rename(picture.with_name("renamed.png"))
    with pytest.raises(DataError, match=r"1 image gone: ants/000\.png; 1 image new: ants/renamed\.png"):
        resumed(run)
    assert run.last.read_bytes() == before


def test_a_recipe_that_changed_cannot_be_resumed(lively: Recipe, tmp_path: Path, stop_at: type[StopAt]) -> None:
    run = interrupted(lively, RunDir(tmp_path / "run"), stop_at)
    run.recipe.write_text(run.recipe.read_text().replace("lr: 0.02", "lr: 0.01"))
    with pytest.raises(RunError, match=r"optimizer\.lr was 0\.02 and is 0\.01"):
        resumed(run)


def test_moved_images_and_other_workers_can_be_resumed(
    lively: Recipe, whole: RunDir, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    run = interrupted(lively, RunDir(tmp_path / "run"), stop_at)
    moved = Path(lively.data.path).rename(tmp_path / "moved")
    text = run.recipe.read_text()
    assert lively.data.path in text
    run.recipe.write_text(
        text.replace(lively.data.path, str(moved))
        .replace("workers: 0", "workers: 1")
        .replace("retries: 1", "retries: 5")
    )
    assert_same_run(resumed(run), whole)


def test_an_image_that_vanishes_during_the_run_is_named(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    lively = recipe("many_layers", image_folder(PLAIN), *LIVELY, "strategy.cached_views=null", "runtime.cache_mib=null")
    run = interrupted(lively, RunDir(tmp_path / "run"), stop_at)

    class Deletes(Watcher):
        def on_step(self, progress: Progress) -> None:
            for row in rows_of(run.splits):
                if row["split"] == "val":
                    (Path(lively.data.path) / row["path"]).unlink(missing_ok=True)

    with pytest.raises(DataError, match=r"\w+/\d+\.png cannot be read any more: the file is gone") as caught:
        resumed(run, Deletes())
    assert "--resume" in str(caught.value.hint)


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    lively: Recipe, whole: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "run")

    def no_space(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == run.history:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, *args, **kwargs)

    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", no_space)
        with pytest.raises(StorageError, match=r"history\.jsonl: the disk is full"):
            train(lively, run)
    assert_same_run(resumed(run), whole)


def test_a_disk_that_fills_up_at_the_start_leaves_no_run_to_resume(
    lively: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(StorageError, match="the disk is full"):
        train(lively, RunDir(tmp_path / "run"))
    assert not RunDir(tmp_path / "run").recipe.exists()
