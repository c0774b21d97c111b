"""A network that is trained once more on all images: what was held out judges, and is not lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from finetune_advisor.errors import Interrupted, RecipeError
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import summary
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher

IMAGES = {"ants": 10, "bees": 10}
SETTINGS = ("budget.epochs=2", "optimizer.batch=4", "optimizer.lr=0.02")
"""16 training images are 4 steps an epoch and 8 in all; with the 4 of validation they are 5 and 10."""


class Heard(Watcher):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def on_record(self, record: Any) -> None:
        self.told.append(record.epoch)

    def on_refit(self, images: int) -> None:
        self.told.append(f"again on {images}")


@pytest.fixture
def asked(image_folder: Any, recipe: Any) -> Any:
    images = image_folder(IMAGES)

    def make(*edits: str) -> Recipe:
        made: Recipe = recipe("few_layers", images, *SETTINGS, *edits)
        return made

    return make


def weights(run: RunDir) -> dict[str, Any]:
    return load_file(run.model / "model.safetensors")


def differ(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return any(not one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize("views", ["1", "null"])
def test_the_model_has_seen_all_images_and_the_scores_are_of_one_that_has_not(
    asked: Any, tmp_path: Path, views: str
) -> None:
    edits = (f"strategy.cached_views={views}",)
    heard = Heard()
    once = train(asked(*edits), RunDir(tmp_path / "once"))
    again = train(asked(*edits, "evaluation.refit=true"), RunDir(tmp_path / "again"), watcher=heard)
    assert heard.told == [1, 2, "again on 20", 1, 2]
    assert again.held_out.read_bytes() == once.held_out.read_bytes()
    assert again.load_metrics()["val"] == once.load_metrics()["val"]
    assert [r.step for r in again.load_history()] == [4, 8]
    records = again.refit.load_history()
    assert [(r.step, r.val_loss, r.val_accuracy) for r in records] == [(5, None, None), (10, None, None)]
    assert "val" not in summary(records[-1])
    assert differ(weights(once), weights(again))
    assert not again.caches.exists() and not again.refit.caches.exists()


def test_the_last_step_is_kept_where_nothing_is_held_out(asked: Any, tmp_path: Path) -> None:
    run = train(asked("evaluation.refit=true"), RunDir(tmp_path / "run"))
    last, best = load_file(run.refit.last), load_file(run.refit.best)
    assert not differ(best, last)


@pytest.mark.parametrize("step", [3, 9], ids=["in the first training", "in the second"])
@pytest.mark.parametrize("averaging", ["null", "{kind: swa}"])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    asked: Any, stop_at: Any, tmp_path: Path, step: int, averaging: str
) -> None:
    made = asked("evaluation.refit=true", "strategy.batch_norm=train", f"averaging={averaging}")
    whole = train(made, RunDir(tmp_path / "whole"))
    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted) as stopped:
        train(made, run, watcher=stop_at(step))
    assert stopped.value.hint and f"{run.path} " in f"{stopped.value.hint} ".replace("`", " ")
    assert not run.finished
    train(made, run, resume=True)
    assert not differ(weights(run), weights(whole))
    assert run.held_out.read_bytes() == whole.held_out.read_bytes()
    assert [r.step for r in run.refit.load_history()] == [5, 10]


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        (("budget.early_stopping=2",), "without validation images nobody knows when to stop early"),
        (("budget.epochs=null", "budget.minutes=3"), "a budget in minutes has no room"),
        (("schedule={kind: plateau}",), "no plateau is seen"),
        (("ensemble={kind: checkpoints}",), "checkpoints needs validation images"),
    ],
)
def test_what_needs_held_out_images_is_refused(asked: Any, edits: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        asked("evaluation.refit=true", *edits)


def test_answers_of_refitted_members_may_be_averaged(asked: Any) -> None:
    assert asked("evaluation.refit=true", "ensemble={kind: seeds}").evaluation.refit


def test_a_probe_is_refitted_anyway(image_folder: Any, recipe: Any) -> None:
    with pytest.raises(RecipeError, match="linear_probe is always fitted on training and validation images together"):
        recipe("linear_probe", image_folder(IMAGES), "evaluation.refit=true")
