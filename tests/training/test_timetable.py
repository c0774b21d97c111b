"""A budget in minutes ends in time, and an interruption changes nothing about the plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from finetune_advisor.errors import Interrupted, RunError
from finetune_advisor.loading.batches import Batch
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import fine_tune as timetable
from finetune_advisor.training.data_feed import ALL, Feed
from finetune_advisor.training.fine_tune import Pace, measure, settled, steps_within
from finetune_advisor.training.network import set_up
from finetune_advisor.training.plan import plan_run
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Clock, Watcher
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

SPLIT = {"train/ants": 8, "train/bees": 8, "test/ants": 6, "test/bees": 6}
MINUTES = ("optimizer.batch=4", "budget.minutes=5")
PLAIN = (*MINUTES, "strategy.cached_views=null")


@dataclass
class Time:
    """A clock that only its owner moves."""

    seconds: float = 0.0

    def now(self) -> float:
        return self.seconds


@dataclass
class SlowFeed:
    """Takes 2 s to load a batch, 1 s for a part of it, and 0.25 s for as many images of an evaluation."""

    feed: Feed
    time: Time
    loaded: int = 0

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        for batch in self.feed.batches(start, stop):
            self.time.seconds += 2 if self.loaded else 60  # workers start
            self.loaded += 1
            yield batch

    def forward(self, inputs: Tensor) -> Tensor:
        self.time.seconds += 1 if torch.is_grad_enabled() else 0.25
        return self.feed.forward(inputs)

    def evaluation(self, split: str, rows: slice = ALL) -> Iterator[Tensor]:
        return self.feed.evaluation(split, rows)


def seconds_of(steps: int, pace: Pace, per_epoch: int) -> float:
    evaluations = -(-steps // per_epoch)
    return steps * pace.step + evaluations * pace.evaluation + pace.scoring


@pytest.mark.parametrize("per_epoch", [1, 3, 10])
@pytest.mark.parametrize("pace", [Pace(1.0, 4.0, 9.0), Pace(0.3, 0.0, 0.0), Pace(2.0, 0.5, 30.0)], ids=str)
def test_the_most_steps_that_end_in_time(pace: Pace, per_epoch: int) -> None:
    for seconds in (1.0, 10.0, 40.0, 100.0, 777.0):
        fitting = [n for n in range(3000) if n == 0 or seconds_of(n, pace, per_epoch) <= 0.95 * seconds]
        assert steps_within(seconds, pace, per_epoch) == fitting[-1]


def test_steps_are_timed_with_their_loading_and_leave_no_trace(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    prepared = prepare(recipe("few_layers", image_folder(SPLIT), *PLAIN), device="cpu", watcher=Watcher())
    setup, time = set_up(prepared, device="cpu"), Time()
    setup = replace(setup, feed=SlowFeed(setup.feed, time))
    before = {name: value.clone() for name, value in setup.backbone.net.state_dict().items()}
    pace = measure(setup, scored=4.0, now=time.now)
    assert pace == Pace(step=3.0, evaluation=0.25, scoring=1.0), "the first steps, where workers start, do not count"
    torch.testing.assert_close(setup.backbone.net.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in setup.backbone.net.parameters())


def test_measuring_the_average_belongs_to_an_evaluation(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    swa = ("averaging={kind: swa}", "strategy.batch_norm=train")
    prepared = prepare(recipe("few_layers", image_folder(SPLIT), *PLAIN, *swa), device="cpu", watcher=Watcher())
    setup, time = set_up(prepared, device="cpu"), Time()
    setup = replace(setup, feed=SlowFeed(setup.feed, time))
    statistics = setup.method.steps_per_epoch * (2 + 0.25)
    assert measure(setup, scored=1.0, now=time.now).evaluation == pytest.approx(statistics + 0.25)


def test_time_that_is_spent_counts(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> None:
    prepared = prepare(recipe("few_layers", image_folder(SPLIT), *PLAIN), device="cpu", watcher=Watcher())
    setup, time = set_up(prepared, device="cpu"), Time()
    assert setup.method.steps_per_epoch == 3
    setup = replace(setup, feed=SlowFeed(setup.feed, time))
    clock = Clock(time.now)
    time.seconds = 70.0
    clock.images_done()
    steps = settled(setup, prepared, clock, run=RunDir(tmp_path)).method.steps
    measuring = 60 + 7 * 2 + 8 * 1 + 0.25
    assert steps == steps_within(300 - 70 - measuring, Pace(3.0, 0.25, 1.0), 3) > 20
    total = 70 + measuring + seconds_of(steps, Pace(3.0, 0.25, 1.0), 3)
    assert 0.9 * 300 < total < 300


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Pace]]:
    """What the machine will be found to take, measurement after measurement."""
    found: list[Pace] = []
    monkeypatch.setattr(timetable, "measure", lambda *args, **kwargs: found.pop(0))
    yield found
    assert not found, "measured less often than expected"


def test_a_resume_goes_on_with_the_plan_it_had(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, paces: list[Pace], stop_at: type[StopAt]
) -> None:
    chosen = recipe("few_layers", image_folder(SPLIT), *MINUTES, "strategy.cached_views=4")
    run = RunDir(tmp_path / "run")
    paces.append(Pace(45.0, 1.0, 1.0))
    with pytest.raises(Interrupted, match="after step 2 of 6"):
        train(chosen, run, watcher=stop_at(2))
    assert json.loads(run.timetable.read_text())["steps"] == 6
    train(load_recipe(run.recipe), run, resume=True)
    assert [record.step for record in run.load_history()] == [3, 6]
    rates = [record.lr["head"] for record in run.load_history() if record.lr]
    assert rates[1] < 0.2 * rates[0], "the schedule ends with the budget"


def test_a_budget_that_is_too_short_says_what_things_take(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, paces: list[Pace]
) -> None:
    paces.append(Pace(200.0, 70.0, 70.0))
    with pytest.raises(RunError, match=r"not enough for a step.*200\.00 s a step, 70\.0 s an evaluation") as caught:
        train(recipe("few_layers", image_folder(SPLIT), *MINUTES), RunDir(tmp_path / "run"))
    assert "--set budget.minutes" in str(caught.value.hint)


def test_a_dry_run_leaves_the_steps_to_the_run(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    plan = plan_run(recipe("few_layers", image_folder(SPLIT), *MINUTES), device="cpu")
    assert (plan.steps, plan.seconds) == (None, 300)
