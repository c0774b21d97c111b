"""One short run of a trial: its recipe cut down, its time kept, its answers read, its folder deleted."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.artifacts.history import Record
from finetune_advisor.artifacts.profile import Cell, Profile
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import change_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.training.watch import Progress, Watcher
from finetune_advisor.workflows.pace import Effort, Event, Mark, Pace
from finetune_advisor.workflows.trial_images import GROUP, TrialImages

TIMED_STEPS = 4
"""Steps of the run that times a recipe; the first one is not taken for the others."""

FITS_OF_A_PROBE = 2
"""Fits of one place, as timed in the analysis, that a run of a probe is counted as: search and final fit."""

Clock = Callable[[], float]

Execute = Callable[[Recipe, RunDir, Watcher], object]
"""Executes a recipe into a folder, as `train` does."""

Say = Callable[[int, int, str], None]
"""Told about (seconds gone, seconds given, what is done)."""


class OutOfTime(Exception):
    """The time of the trial is over, or too short for what is left of a run."""


@dataclass(frozen=True)
class Deadline:
    """When a trial has to end, whatever it is doing."""

    clock: Clock
    begin: float
    seconds: float
    say: Say

    @staticmethod
    def after(seconds: float, *, clock: Clock, say: Say) -> Deadline:
        return Deadline(clock, clock(), seconds, say)

    @property
    def left(self) -> float:
        return self.begin + self.seconds - self.clock()

    def check(self, doing: str, *, reserve: float = 0.0) -> None:
        """Tell who watches, and stop where less than `reserve` seconds are left.

        Raises:
            OutOfTime: they are.
        """
        self.say(round(min(self.seconds, self.seconds - self.left)), math.ceil(self.seconds), doing)
        if self.left <= reserve:
            raise OutOfTime(doing)


@dataclass(frozen=True)
class Outcome:
    """What a short run scored on the images to judge on."""

    effort: Effort
    accuracy: float
    log_loss: float
    seconds: float
    hits: Mapping[str, bool]
    """Name in the manifest -> whether the image was recognized."""


@dataclass(frozen=True)
class Bench:
    """Where the short runs are made; each one leaves nothing but its outcome."""

    folder: Path
    images: TrialImages
    recipes: Mapping[Cell, Recipe]
    execute: Execute
    deadline: Deadline

    def pace(self, cell: Cell, profile: Profile, *, least: int) -> Pace:
        """Time a few steps of a recipe on a few images.

        Raises:
            OutOfTime: before they were done.
        """
        recipe = self.recipes[cell]
        doing = f"timing {cell}"
        if recipe.optimizer is None or recipe.budget is None:
            marks = self._execute(recipe, least, doing)
            fit = profile.seconds.probes / len(profile.probes)
            return Pace(start=marks[-1][1] - marks[0][1] + FITS_OF_A_PROBE * fit)
        batch, validation = recipe.optimizer.batch, recipe.data.validation
        few = max(least, math.ceil(TIMED_STEPS * batch / (1 - validation)))
        short = change_recipe(recipe, {"budget.steps": TIMED_STEPS, "budget.epochs": None})
        marks = self._execute(short, few, doing)
        assert recipe.budget.epochs is not None, "the advice counts in epochs"
        return Pace.of(marks, batch=batch, validation=validation, epochs=recipe.budget.epochs)

    def outcome(self, cell: Cell, effort: Effort, pace: Pace, *, doing: str) -> Outcome:
        """Run a recipe with the images and epochs of `effort`, and forget the run.

        Raises:
            OutOfTime: before it was done.
        """
        recipe, epochs = self.recipes[cell], pace.epochs_of(effort)
        if epochs:
            recipe = change_recipe(recipe, {"budget.epochs": epochs})
        judged = len(self._part(effort.images).judge.samples)
        run = RunDir(self.folder / cell)
        marks = self._execute(recipe, effort.images, doing, reserve=pace.ending(effort, judged), keep=True)
        scores, hits = run.load_metrics()["test"], _hits(run)
        shutil.rmtree(run.path)
        seconds = marks[-1][1] - marks[0][1]
        return Outcome(Effort(effort.images, epochs), scores["accuracy"], scores["log_loss"], seconds, hits)

    def _execute(
        self, recipe: Recipe, images: int, doing: str, *, reserve: float = 0.0, keep: bool = False
    ) -> list[Mark]:
        manifest = self.folder / "images.csv"
        self._part(images).save(manifest)
        cell = recipe.strategy.kind
        recipe = change_recipe(
            recipe,
            {
                "name": cell,
                "data.path": str(manifest),
                "data.group": GROUP,
                "data.path_column": None,
                "data.label_column": None,
                "data.merge_classes": False,
                "data.class_folders": None,
                "evaluation.refit": False,
            },
        )
        keeper = _Timekeeper(self.deadline, doing, reserve)
        run = RunDir(self.folder / cell)
        self.execute(recipe, run, keeper)
        keeper.mark("end")
        if not keep:
            shutil.rmtree(run.path)
        return keeper.marks

    def _part(self, images: int) -> TrialImages:
        return self.images.part(min(1.0, images / len(self.images.learn.samples)))


class _Timekeeper(Watcher):
    """Writes down when what happened, and stops a run that would not end in time."""

    def __init__(self, deadline: Deadline, doing: str, reserve: float) -> None:
        self.deadline, self.doing, self.reserve = deadline, doing, reserve
        self.marks: list[Mark] = []
        self.mark("start")
        deadline.check(doing)

    def mark(self, event: Event) -> None:
        self.marks.append((event, self.deadline.clock()))

    def on_images(self, done: int, total: int) -> None:  # noqa: ARG002
        self.deadline.check(self.doing)

    def on_folder(self, folder: Path) -> None:  # noqa: ARG002
        self.deadline.check(self.doing)

    def on_step(self, progress: Progress) -> None:  # noqa: ARG002
        self.mark("step")
        self.deadline.check(self.doing, reserve=self.reserve)

    def on_record(self, record: Record) -> None:  # noqa: ARG002
        self.mark("record")
        self.deadline.check(self.doing)


def _hits(run: RunDir) -> dict[str, bool]:
    with run.predictions.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["label"] == row["prediction"] for row in csv.DictReader(file)}
