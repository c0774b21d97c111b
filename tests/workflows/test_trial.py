"""A trial ends in time, halves, says when it cannot tell, overrules the table when it can, leaves nothing behind."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.artifacts.history import Record
from finetune_advisor.artifacts.json_file import save_json
from finetune_advisor.artifacts.profile import Cell, Neighbor, Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import change_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.data.plan import BatchPlan
from finetune_advisor.data.sources import Listing, open_source
from finetune_advisor.errors import Interrupted
from finetune_advisor.training.train import train
from finetune_advisor.training.watch import Progress, Watcher
from finetune_advisor.workflows.trial import candidates, trial
from finetune_advisor.workflows.trial_runs import TIMED_STEPS

COUNTS = {"train/ants": 30, "train/bees": 30, "test/ants": 4, "test/bees": 4}


def finished(kind: str, right: int, images: int) -> dict[str, object]:
    """What a run writes that is right about so many of its images, all of class x."""
    scores = {"precision": None, "recall": None, "f1": None, "images": images}
    block = {
        "accuracy": right / images,
        "accuracy_ci95": [0.0, 1.0],
        "balanced_accuracy": right / images,
        "log_loss": 0.3,
        "images": images,
        "per_class": {"x": scores, "y": scores},
        "confusion": [[right, images - right], [0, 0]],
    }
    seconds = {"images": 0.5, "total": 1.0}
    return {"val": None, "test": block, "val_is": "held out", "recipe": kind, "classes": ["x", "y"], "seconds": seconds}


@dataclass
class Stage:
    """Stands in for training: a clock that runs by the step, answers that are right as often as one says."""

    skill: Mapping[str, float]
    """Cell -> share of the held-out images it recognizes."""
    step: float = 1.0
    slower: float = 1.0
    """Factor of a step's seconds once the timing is over."""
    now: float = 1000.0
    runs: list[SimpleNamespace] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def execute(self, recipe: Recipe, run: RunDir, watcher: Watcher) -> None:
        rows = list(csv.DictReader(Path(recipe.data.path).read_text().splitlines()))
        judged = [row for row in rows if row["split"] == "test"]
        learned = [row for row in rows if row["split"] == "train"]
        kind, budget = recipe.strategy.kind, recipe.budget
        timing = budget is not None and budget.steps == TIMED_STEPS
        self.runs.append(SimpleNamespace(cell=kind, timing=timing, recipe=recipe, learned=learned, judged=judged))
        run.path.mkdir()
        self.now += 2.0
        watcher.on_folder(run.path)
        if budget is not None and recipe.optimizer is not None:
            per_epoch = BatchPlan(round(0.8 * len(learned)), recipe.optimizer.batch, 0).steps_per_epoch
            steps = budget.steps or per_epoch * (budget.epochs or 0)
            for step in range(1, steps + 1):
                self.now += self.step * (1 if timing else self.slower)
                watcher.on_step(Progress(step, steps, 0.5, 1.0))
                if step % per_epoch == 0 or step == steps:
                    self.now += 0.5
                    watcher.on_record(record(step))
        self.now += 1.0
        right = round(self.skill[kind] * len(judged))
        lines = [f"{row['path']},x,{'x' if place < right else 'y'},0.5" for place, row in enumerate(judged)]
        run.predictions.write_text("\n".join(["path,label,prediction,probability", *lines]) + "\n")
        save_json(run.metrics, finished(kind, right, len(judged)))

    def rounds(self) -> list[str]:
        """The cells that ran for a score, in order; the first run of each cell times it."""
        seen: set[str] = set()
        found = []
        for run in self.runs:
            if run.cell in seen:
                found.append(run.cell)
            seen.add(run.cell)
        return found


def record(step: int) -> Record:
    return Record(
        step=step,
        epoch=1.0,
        lr=None,
        train_loss=None,
        train_accuracy=None,
        val_loss=0.5,
        val_accuracy=0.5,
        images_per_second=None,
        seconds=1.0,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, private_cache: Path) -> tuple[Listing, Profile]:
    """A folder with a test split and its analysis, made once."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("trial") / "images"
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.normal((180, 90, 60) if "ants" in name else (70, 110, 170), 40, (40, 48, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    listing = open_source(root)
    return listing, place(analyze(listing, backbone="mobilenetv3_small_050", weights="random", size=64))


def near(profile: Profile, *cells: Cell) -> Profile:
    """The profile with these neighbors."""
    neighbors = tuple(Neighbor(cell=cell, probability=0.2, decides="A coin.") for cell in cells)
    return profile.model_copy(update={"cell": "linear_probe", "neighbors": neighbors})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def run(measured: tuple[Listing, Profile], folder: Path) -> Callable[..., Any]:
    """A trial of the linear probe against neighbors, on a stage."""

    def tried(stage: Stage, *cells: Cell, minutes: float = 10, **more: Any) -> Any:
        listing, profile = measured
        found = trial(listing, near(profile, *cells), minutes=minutes, clock=stage.clock, execute=stage.execute, **more)
        assert list(folder.iterdir()) == [], "nothing is left behind"
        return found

    return tried


def test_without_a_neighbor_there_is_nothing_to_settle_and_that_is_said(run, caplog) -> None:
    stage = Stage({})
    assert run(stage) is None
    assert stage.runs == []
    assert "points to linear_probe and to no neighbor; name a recipe to compare with --strategy" in caplog.text


def test_a_named_recipe_is_tried_whether_the_table_knows_it_or_not(run, measured) -> None:
    assert candidates(near(measured[1], "few_layers"), "few_layers") == ("linear_probe", "few_layers")
    stage = Stage({"linear_probe": 0.5, "many_layers": 1.0})
    assert run(stage, named="many_layers").winner == "many_layers"


def test_a_clear_winner_is_decided_overrules_the_table_and_is_in_the_recipe(run, measured) -> None:
    found = run(Stage({"linear_probe": 0.5, "few_layers": 0.95}), "few_layers")
    assert found.decided and found.winner == "few_layers"
    assert found.lead == pytest.approx(0.45, abs=0.03) and found.lead > 2 * found.lead_std
    advice = advise(place(measured[1].model_copy(update={"trial": found})))
    assert advice.recipe.strategy.kind == "few_layers"
    text = " ".join(advice.yaml().replace("#", " ").split())
    assert "A trial of 10 min decided for few_layers (few_layers 0.950, linear_probe 0.500)" in text


@pytest.mark.parametrize("better", [0.7, 0.75])
def test_a_lead_within_the_noise_leaves_the_table_its_cell(run, measured, better) -> None:
    found = run(Stage({"linear_probe": 0.7, "few_layers": better}), "few_layers")
    assert not found.decided
    assert found.winner == place(measured[1]).cell
    text = " ".join(advise(place(measured[1].model_copy(update={"trial": found}))).yaml().replace("#", " ").split())
    assert "A trial of 10 min could not tell" in text


def test_the_better_half_goes_on_to_more(run) -> None:
    skill = {"linear_probe": 0.4, "stage_probe": 0.3, "few_layers": 1.0, "many_layers": 0.5}
    stage = Stage(skill, step=10.0)
    found = run(stage, "stage_probe", "few_layers", "many_layers", minutes=15)
    assert sorted(stage.rounds()[:4]) == sorted(skill)
    assert sorted(stage.rounds()[4:]) == ["few_layers", "many_layers"]
    efforts = [(r.images, r.epochs) for r in found.rungs if r.cell == "few_layers"]
    assert len(efforts) == 2 and efforts[1] > efforts[0]
    assert found.winner == "few_layers"


def test_a_round_that_could_not_be_larger_is_not_repeated(run) -> None:
    stage = Stage({"linear_probe": 0.6, "stage_probe": 0.5, "few_layers": 0.9}, step=0.01)
    found = run(stage, "stage_probe", "few_layers")
    assert {r.rung for r in found.rungs} == {0}
    assert {r.epochs for r in found.rungs if r.cell == "few_layers"} == {stage.runs[-1].recipe.budget.epochs}, (
        "the first one had everything"
    )


@pytest.mark.parametrize("slower", [1.0, 1.3, 3.0, 20.0])
@pytest.mark.parametrize("minutes", [1.5, 3, 8, 30])
def test_it_ends_within_the_minutes_however_wrong_the_timing_was(run, minutes, slower) -> None:
    stage = Stage({"linear_probe": 0.5, "few_layers": 0.9}, step=2.0, slower=slower)
    found = run(stage, "few_layers", minutes=minutes)
    assert stage.now - 1000.0 <= 60 * minutes + 2.0 * slower, "a step that began is ended"
    if slower == 1.0:
        assert found is not None


def test_a_round_that_time_cut_off_does_not_count_and_that_is_said(run, caplog) -> None:
    skill = {"linear_probe": 0.6, "few_layers": 0.9, "many_layers": 0.8}

    class Tiring(Stage):
        def execute(self, recipe: Recipe, run: RunDir, watcher: Watcher) -> None:
            self.slower = 10.0 if len(self.rounds()) >= 3 else 1.0
            super().execute(recipe, run, watcher)

    found = run(Tiring(skill, step=10.0), "few_layers", "many_layers", minutes=12)
    assert found.unfinished and {r.rung for r in found.rungs} == {0}
    assert "time was over in round 2, which does not count" in caplog.text


@pytest.mark.parametrize("minutes", [0.01, 0.2, 0.5])
def test_too_little_time_decides_nothing_and_says_so(run, caplog, minutes) -> None:
    stage = Stage({"linear_probe": 0.5, "few_layers": 0.9}, step=4.0)
    assert run(stage, "few_layers", minutes=minutes) is None
    assert f"no trial: {minutes:g} min were over while" in caplog.text


def test_all_recipes_see_the_same_images_and_test_images_are_never_touched(run) -> None:
    stage = Stage({"linear_probe": 0.5, "few_layers": 0.9})
    run(stage, "few_layers")
    last = {each.cell: each for each in stage.runs}
    probe, trained = last["linear_probe"], last["few_layers"]
    assert probe.learned == trained.learned and probe.judged == trained.judged
    for each in stage.runs:
        paths = [row["path"] for row in each.learned + each.judged]
        assert not [path for path in paths if "/test/" in path]
        assert len(set(paths)) == len(paths)
    assert len(trained.judged) == pytest.approx(len(trained.learned) / 2, abs=2)
    labels = [row["label"] for row in trained.judged]
    assert abs(labels.count("ants") - labels.count("bees")) <= 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: Interrupted("Stopped.", "run --resume")])
def test_ctrl_c_says_what_is_and_what_is_not_there(measured, folder, error) -> None:
    def execute(recipe: Recipe, run: RunDir, watcher: Watcher) -> None:
        run.path.mkdir()
        raise error()

    listing, profile = measured
    with pytest.raises(Interrupted) as caught:
        trial(listing, near(profile, "few_layers"), minutes=5, execute=execute)
    assert "no recipe was written" in caught.value.message
    assert caught.value.hint is not None and "--resume" not in caught.value.hint
    assert list(folder.iterdir()) == []


def test_real_training_of_tiny_networks(measured, folder) -> None:
    """Everything together: probe and network learn two colors from the same images; two epochs are enough here."""

    def execute(recipe: Recipe, run: RunDir, watcher: Watcher) -> None:
        short = {} if recipe.budget is None or recipe.budget.steps else {"budget.epochs": 2}
        train(change_recipe(recipe, {"runtime.workers": 0, **short}), run, watcher=watcher)

    listing, profile = measured
    told: list[tuple[int, int, str]] = []
    found = trial(
        listing, near(profile, "few_layers"), minutes=5, execute=execute, progress=lambda *seen: told.append(seen)
    )
    assert found is not None
    assert {rung.cell for rung in found.rungs} == {"linear_probe", "few_layers"}
    assert all(0 <= rung.accuracy <= 1 and rung.seconds > 0 for rung in found.rungs)
    assert found.rungs[0].accuracy > 0.8, "the colors are easy"
    assert told[-1][0] <= told[-1][1] == 300
    assert list(folder.iterdir()) == []
