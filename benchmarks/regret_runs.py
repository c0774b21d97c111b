"""The runs of regret.py: how recipes are cut down to the settings, and what one line says of a run."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

from regret_recipes import ADVISED, ANALYZE, Line
from regret_tasks import Settings, Task, write_task

from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.table import place
from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.recipes.load import change_recipe, load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.profile import Cell, Profile
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train


@dataclass(frozen=True)
class Bench:
    """A task laid out on the disk.

    Attributes:
        folder: of this task alone; runs are made in it and deleted.
        alone: manifest of the training images.
        split: manifest of training and test images.
    """

    task: Task
    settings: Settings
    folder: Path
    alone: Path
    split: Path

    @staticmethod
    def of(task: Task, settings: Settings, folder: Path) -> Bench:
        folder.mkdir(parents=True, exist_ok=True)
        return Bench(task, settings, folder, *write_task(task, folder))

    def profile(self) -> Profile:
        """The analysis of exactly the training images; remembered after the first time."""
        measured = analyze(self.alone, size=self.settings.px, seed=self.task.seed, device=self.settings.device)
        return place(measured)

    def line(self, recipe: str) -> Line:
        """Do what the name says, and say what came of it; wall-clock and processor seconds included."""
        begin, worked = perf_counter(), process_time()
        found = self._analysis() if recipe == ANALYZE else self._run(self.recipe(recipe))
        task = self.task
        return {
            "task": task.name,
            "data": task.data,
            "per_class": task.per_class,
            "images": task.images,
            "seed": task.seed,
            "settings": self.settings.name,
            "recipe": recipe,
            **found,
            "seconds": round(perf_counter() - begin, 2),
            "cpu": round(process_time() - worked, 2),
        }

    def recipe(self, name: str) -> Recipe:
        """A shipped recipe, or the one that the advice writes for a cell, cut down to the settings."""
        if name.startswith(ADVISED):
            cell: Cell = name.removeprefix(ADVISED)  # type: ignore[assignment]
            recipe = advise(self.profile(), strategy=cell).recipe
        else:
            recipe = load_recipe(name)
        return change_recipe(recipe, dict(self._changes(recipe)))

    def _changes(self, recipe: Recipe) -> Iterator[tuple[str, object]]:
        settings, task = self.settings, self.task
        yield "name", "run"
        yield "seed", task.seed
        yield "data.path", str(self.split)
        yield "preprocessing.size", settings.px
        if settings.device == "cpu":
            yield "runtime.workers", 0
        if recipe.budget is None or recipe.optimizer is None or settings.shows is None:
            return
        least, most = settings.epochs
        training = max(1, round(task.images * (1 - recipe.data.validation)))
        epochs = min(max(math.ceil(settings.shows / training), least), most)
        yield "budget", {"epochs": epochs}
        if settings.batch is not None:
            yield "optimizer.batch", min(recipe.optimizer.batch, settings.batch)
            yield "optimizer.micro_batch", None
        planned, unfreeze = recipe.budget.epochs, getattr(recipe.strategy, "unfreeze_every", None)
        if planned is not None and unfreeze is not None:
            yield "strategy.unfreeze_every", max(1, round(unfreeze * epochs / planned))

    def _run(self, recipe: Recipe) -> Line:
        run = RunDir(self.folder / "run")
        shutil.rmtree(run.path, ignore_errors=True)
        train(recipe, run, device=self.settings.device)
        metrics = run.load_metrics()
        with run.predictions.open(encoding="utf-8", newline="") as file:
            rows = [(row["path"], row["label"] == row["prediction"]) for row in csv.DictReader(file)]
        shutil.rmtree(run.path)
        correct = "".join("1" if hit else "0" for _, hit in sorted(rows))
        return {
            "accuracy": correct.count("1") / len(correct),
            "val_accuracy": metrics["val"]["accuracy"],
            "epochs": None if recipe.budget is None else recipe.budget.epochs,
            "correct": correct,
        }

    def _analysis(self) -> Line:
        profile = self.profile()
        return {
            "cell": profile.cell,
            "confidence": profile.confidence,
            "neighbors": {neighbor.cell: neighbor.probability for neighbor in profile.neighbors},
            "predicted": None if profile.predicted is None else profile.predicted.accuracy,
            "size": profile.size.model_dump(),
            "similarity": profile.similarity.model_dump(),
            "probes": [probe.model_dump() for probe in profile.probes],
        }
