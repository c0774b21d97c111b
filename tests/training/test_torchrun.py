"""Two real processes train as one does, stop together, and fail together; they meet over gloo on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from finetune_advisor.images.split import load_splits
from finetune_advisor.recipes.load import dump_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import fine_tune as timetable
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

COUNTS = {"train/ants": 14, "train/bees": 15, "test/ants": 4, "test/bees": 3}
UNEVEN = (
    "strategy.cached_views=null",
    "runtime.cache_mib=null",
    "mixing={kind: mixup, alpha: 1.0}",
    "optimizer.batch=10",
    "optimizer.lr=0.02",
    "budget.epochs=2",
    "optimizer.micro_batch=4",
    "regularization=[{kind: l2, strength: 0.01, decoupled: true}, {kind: l1, start: 0.5}, "
    "{kind: max_norm, limit: 0.1}, {kind: kl_sparsity, strength: 0.001, target: 0.2}]",
    "optimizer.clip=0.5",
    "schedule={kind: plateau, factor: 0.5, patience: 0, threshold: 0.5}",
)
"""23 training images: the last batch of an epoch has three, of which a second process gets none. No dropout."""

SHORT = ("optimizer.batch=10", "optimizer.lr=0.02", "optimizer.eps=1e-4", "regularization=null")
"""Also three steps an epoch. In a batch with as many ants as bees gradients cancel but for the rounding of their sum,
which Adam blows up to whole steps unless its eps is larger than that."""

IMPORTS = """
import os, signal, sys
from finetune_advisor import processes
from finetune_advisor.cli import main
"""

STOPS_ONE = (
    IMPORTS
    + """
from finetune_advisor.loading.batches import TrainBatches

make = TrainBatches._make
def making(self, step):
    if step == 2 and processes.rank() == 1 and "--resume" not in sys.argv:
        os.kill(os.getpid(), signal.SIGTERM)
    return make(self, step)
TrainBatches._make = making
main()
"""
)

BREAKS_ONE = (
    IMPORTS
    + """
from finetune_advisor.loading import augmented
from finetune_advisor.errors import UnreadableImage

read = augmented.read_image
def reading(path, **kwargs):
    if processes.rank() == 1:
        raise UnreadableImage("the file is gone")
    return read(path, **kwargs)
augmented.read_image = reading
main()
"""
)

TRAINS = """
import sys
from pathlib import Path
from finetune_advisor import processes
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import fine_tune as timetable
from finetune_advisor.training.trainer import train

measure = timetable.measure
def measuring(*arguments, **options):
    measure(*arguments, **options)
    return timetable.Pace(20.0 if processes.rank() == 0 else 5.0, 5.0, 5.0)
timetable.measure = measuring
_, _, recipe, _, run, *_ = sys.argv
train(load_recipe(recipe), RunDir(Path(run)))
"""
"""Without the report that the command line writes. Where steps are timed, the second process finds itself faster."""


@pytest.fixture
def uneven(image_folder: ImageFolder, recipe: MakeRecipe) -> Recipe:
    return recipe("few_layers", image_folder(COUNTS), *UNEVEN)


def torchrun(folder: Path, *arguments: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in two processes; with a script, one that changes something first."""
    what = ["-m", "finetune_advisor"]
    if script is not None:
        (folder / "script.py").write_text(script)
        what = [str(folder / "script.py")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *what, "run"]
    return subprocess.run(
        [*command, *arguments, "--device", "cpu"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def metrics_of(run: RunDir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.metrics.read_text())
    return found


def assert_same_run(ours: RunDir, theirs: RunDir, within: float = 1e-4) -> None:
    assert load_splits(ours.splits) == load_splits(theirs.splits)
    for ours_, theirs_ in zip(ours.load_history(), theirs.load_history(), strict=True):
        assert (ours_.step, ours_.lr) == (theirs_.step, theirs_.lr)
        assert ours_.train_loss == pytest.approx(theirs_.train_loss, abs=within)
        assert ours_.train_accuracy == pytest.approx(theirs_.train_accuracy, abs=1e-4)
        expected = (theirs_.val_accuracy, theirs_.val_loss)
        assert (ours_.val_accuracy, ours_.val_loss) == pytest.approx(expected, abs=within)
    weights = [load_file(run.model / "model.safetensors") for run in (ours, theirs)]
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[1]) < 1e-4
    for split, images in (("val", 6), ("test", 7)):
        found, expected = (metrics_of(run)[split] for run in (ours, theirs))
        assert found["images"] == expected["images"] == images
        assert found["confusion"] == expected["confusion"]
        assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-4)
    assert len(ours.predictions.read_text().splitlines()) == 7 + 1


def test_two_processes_equal_one_also_after_a_signal_to_one_of_them(uneven: Recipe, tmp_path: Path) -> None:
    """It stops both at one step, and both go on from the same checkpoint; only the first writes and speaks."""
    (tmp_path / "recipe.yaml").write_text(dump_recipe(uneven))
    two = RunDir(tmp_path / "two")
    stopped = torchrun(tmp_path, str(tmp_path / "recipe.yaml"), "--run-dir", str(two.path), script=STOPS_ONE)
    assert stopped.returncode != 0
    assert stopped.stderr.count("Stopped by SIGTERM after step 3 of 6; the state is saved") == 1, stopped.stderr
    assert two.last.is_file() and not two.finished
    assert "stopped by SIGTERM after step 3 of 6" in two.log.read_text()
    done = torchrun(tmp_path, "--run-dir", str(two.path), "--resume", script=STOPS_ONE)
    assert done.returncode == 0, done.stderr
    assert_same_run(two, train(uneven, RunDir(tmp_path / "one")))
    assert done.stderr.count("run folder:") == done.stdout.count("Wrote") == 1
    assert two.log.read_text().count("resumed: few_layers") == 1
    assert not list(two.path.rglob("*.tmp*"))


def test_what_goes_wrong_in_one_process_ends_both_with_one_message(uneven: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(uneven))
    failed = torchrun(tmp_path, str(tmp_path / "recipe.yaml"), "--run-dir", str(tmp_path / "two"), script=BREAKS_ONE)
    assert failed.returncode != 0
    assert failed.stderr.count("error:") == 1, failed.stderr
    assert "cannot be read any more: the file is gone" in failed.stderr


def test_two_processes_average_refit_and_track_as_one(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Also from kept views, which one of them computes; what the tracker is told is what the history says."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    keys = ("averaging={kind: ema}", "evaluation.refit=true", "strategy.cached_views=1", "runtime.tracker=tensorboard")
    chosen = recipe("few_layers", image_folder(COUNTS), *SHORT, "budget.epochs=2", *keys)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(chosen))
    two = RunDir(tmp_path / "two")
    done = torchrun(tmp_path, str(tmp_path / "recipe.yaml"), "--run-dir", str(two.path), script=TRAINS)
    assert done.returncode == 0, done.stderr
    one = train(chosen, RunDir(tmp_path / "one"))
    assert_same_run(two, one, within=1e-6)
    for ours, theirs in zip(two.refit.load_history(), one.refit.load_history(), strict=True):
        assert (ours.step, ours.lr, ours.val_loss) == (theirs.step, theirs.lr, None)
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-6)
    assert len(list(two.tensorboard.rglob("events*"))) == 1
    events = accumulator.EventAccumulator(str(two.tensorboard)).Reload()
    told = [(event.step, event.value) for event in events.Scalars("val/loss")]
    assert told == [(record.step, pytest.approx(record.val_loss)) for record in two.load_history()]


def test_two_processes_plan_their_time_and_stop_early_as_one(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process's clock decides; rates that change nothing make the second evaluation one without progress."""
    keys = ("averaging={kind: swa, start: 0.1}", "budget={minutes: 5, early_stopping: 1}", "optimizer.lr=1e-9")
    chosen = recipe("few_layers", image_folder(COUNTS), *SHORT, *keys)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(chosen))
    two = RunDir(tmp_path / "two")
    done = torchrun(tmp_path, str(tmp_path / "recipe.yaml"), "--run-dir", str(two.path), script=TRAINS)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(timetable, "measure", lambda *_, **__: timetable.Pace(20.0, 5.0, 5.0))
    one = train(chosen, RunDir(tmp_path / "one"))
    assert_same_run(two, one, within=1e-6)
    assert [record.step for record in two.load_history()] == [3, 6]
    assert two.load_timetable() == one.load_timetable()
    assert "stopped early: no progress in 1 evaluations" in two.log.read_text()
