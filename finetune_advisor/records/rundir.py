"""A run folder: the one place that knows a run's file names, where a new run goes, and which one is resumed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_advisor.errors import RunError, did_you_mean
from finetune_advisor.records.history import Record, load_history
from finetune_advisor.storage.files import load_json, require_writable, storage_errors
from finetune_advisor.storage.lock import holder_of, locked, require_unlocked

if TYPE_CHECKING:
    from finetune_advisor.records.predictions import Answer


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths inside one run folder. Creating the value touches nothing on disk."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def profile(self) -> Path:
        return self.path / "profile.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.csv"

    @property
    def training_images(self) -> Path:
        """By what the images that trained or chose the model are recognized: digests and thumbnails."""
        return self.path / "training_images.safetensors"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def timetable(self) -> Path:
        return self.path / "timetable.json"

    @property
    def signal(self) -> Path:
        """How the outputs of each layer varied before training, where weights were random."""
        return self.path / "signal.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.safetensors"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.safetensors"

    @property
    def caches(self) -> Path:
        """What can be computed again; gone when the run is finished."""
        return self.path / "caches"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def refit(self) -> RunDir:
        """The training with nothing held out: its history and checkpoints; the model is that of the whole run."""
        return RunDir(self.path / "refit")

    @property
    def held_out(self) -> Path:
        """The model's answers on images that did not train it: what ensembles are chosen by."""
        return self.path / "held_out.csv"

    @property
    def snapshots(self) -> Path:
        """Checkpoints that a run with `ensemble: {kind: checkpoints}` leaves on its way."""
        return self.checkpoints / "snapshots"

    @property
    def ensemble(self) -> Path:
        """Of a folder that holds an ensemble: what it is made of."""
        return self.path / "ensemble.json"

    @property
    def plan(self) -> Path:
        """Of an ensemble, from its beginning: which runs and settings it is of."""
        return self.path / "plan.json"

    @property
    def members(self) -> Path:
        """Of an ensemble: the runs that were trained for it."""
        return self.path / "members"

    @property
    def is_ensemble(self) -> bool:
        return self.plan.is_file()

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def exports(self) -> Path:
        """The model in other forms."""
        return self.path / "export"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def diagnosis(self) -> Path:
        return self.path / "diagnosis.json"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def finished(self) -> bool:
        """metrics.json is written last, so it marks a run that ended."""
        return self.metrics.is_file()

    @property
    def drawn(self) -> bool:
        """Whether everything that is made of a finished run's files is there."""
        return all(path.is_file() for path in (self.diagnosis, self.report))

    @property
    def resume_command(self) -> str:
        """What to type to go on with this run."""
        return f"finetune-advisor run --run-dir {shlex.quote(str(self.path))} --resume"

    @property
    def hint_to_finish(self) -> str:
        """What to do where a finished run is needed, and this is none."""
        if self.is_ensemble:
            return "It is an ensemble: the command that began it goes on with it."
        return f"Go on with it: {self.resume_command}" if self.recipe.is_file() else "Name the folder of a run."

    def require_free(self) -> None:
        """Check that a new run can be put here; leaves nothing behind.

        Raises:
            RunError: there is already something.
            StorageError: nothing can be written there.
        """
        with storage_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path} is a file, not a run folder.", "Choose another --run-dir.")
            if self.path.is_dir() and self._occupied():
                require_unlocked(self._lock)
                raise self._not_empty()
        require_writable(self.recipe)

    def require_folder(self) -> None:
        """Check that the folder is there.

        Raises:
            RunError: it is not; a name beside it that may be meant is given.
        """
        if not self.path.is_dir():
            beside = self.path.parent
            near = did_you_mean(self.path.name, [p.name for p in beside.iterdir()]) if beside.is_dir() else ""
            raise RunError(f"There is no run folder {self.path}{near or '.'}")

    def require_begun(self) -> None:
        """Check that there is a run here to go on with.

        Raises:
            RunError: there is none, or it is an ensemble.
        """
        if self.is_ensemble:
            state = "is finished" if self.finished else "has not finished"
            raise RunError(
                f"{self.path} holds an ensemble, which {state}; `run` has nothing to go on with.",
                "`finetune-advisor ensemble`, called as before, goes on with one.",
            )
        if not self.recipe.is_file():
            raise RunError(f"{self.path} holds no run to go on with.", "Name its folder with --run-dir.")

    @contextmanager
    def claimed(self) -> Iterator[RunDir]:
        """Make the folder for a new run, and keep other writers out of it while the block runs.

        Raises:
            RunError: there is already something in it, or another process is about to fill it.
            StorageError: it cannot be made.
        """
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with self.locked():
            if self._occupied():
                raise self._not_empty()
            yield self

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out of this folder while the block runs; the lock dies with the process.

        Raises:
            RunError: another process is writing this run.
            StorageError: the folder cannot be written.
        """
        with locked(self._lock):
            yield

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"

    def _occupied(self) -> bool:
        return any(item not in {self._lock, holder_of(self._lock)} for item in self.path.iterdir())

    def _not_empty(self) -> RunError:
        if not self.recipe.is_file():
            return RunError(f"{self.path} is not empty and is not a run.", "Choose another --run-dir.")
        if self.finished:
            hint = "Choose another --run-dir, or leave it out to get the next free number."
        else:
            hint = f"Go on with it: {self.resume_command}"
        return RunError(f"{self.path} already holds a run.", hint)

    def load_metrics(self) -> dict[str, Any]:
        """The content of metrics.json.

        Raises:
            RunError: the run did not finish or the file is damaged.
        """
        # Not above: a command that reads no metrics answers sooner without it.
        from finetune_advisor.records.metrics import load_metrics

        return load_metrics(self.metrics, f"{self.path} holds no finished run", hint=self.hint_to_finish)

    def load_predictions(self, metrics: Mapping[str, Any]) -> tuple[Answer, ...]:
        """The content of predictions.csv: an answer for each image that these metrics of the run were scored on.

        Raises:
            RunError: the file is missing, damaged or cut short.
        """
        from finetune_advisor.records.predictions import load_predictions

        return load_predictions(self.predictions, images=(metrics["test"] or metrics["val"])["images"])

    def load_members(self) -> tuple[RunDir, ...]:
        """Of an ensemble: the runs it was given, and those that were trained for it.

        Raises:
            RunError: plan.json is damaged.
        """
        given = load_json(self.plan, f"{self.path} holds no ensemble").get("runs", ())
        trained = sorted(recipe.parent for recipe in self.members.glob(f"*/{self.recipe.name}"))
        return tuple(RunDir(Path(folder)) for folder in (*given, *trained))

    def load_timetable(self) -> dict[str, Any]:
        """The steps that fit into a budget of minutes, as planned when the run began.

        Raises:
            RunError: the file is damaged.
        """
        return load_json(self.timetable, f"{self.path} holds no plan")

    def load_history(self) -> tuple[Record, ...]:
        return load_history(self.history)


@dataclass(frozen=True, slots=True)
class NumberedRun:
    """A run folder to be: `parent/name-<n>`, with the first number that is free when the run begins to write."""

    parent: Path
    name: str

    def require_free(self) -> None:
        """Check that the folder can be made; leaves nothing behind.

        Raises:
            StorageError: nothing can be written there.
        """
        require_writable(self.parent / self.name)

    @contextmanager
    def claimed(self) -> Iterator[RunDir]:
        """Make the folder, under a number that no other process has, and keep other writers out of it.

        Raises:
            StorageError: it cannot be made.
        """
        with self._made().claimed() as run:
            yield run

    def _made(self) -> RunDir:
        number = 1
        with storage_errors(self.parent):
            self.parent.mkdir(parents=True, exist_ok=True)
            while True:
                path = self.parent / f"{self.name}-{number}"
                with suppress(FileExistsError):
                    path.mkdir()
                    return RunDir(path)
                number += 1


RunPlace = RunDir | NumberedRun
"""Where a new run goes."""


def latest_run(parent: Path) -> RunDir:
    """The run below `parent` to go on with: of the unfinished ones, or else of all, the one written to last.

    Raises:
        RunError: there is none.
    """
    runs = [RunDir(path) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    begun = [run for run in runs if run.recipe.is_file()]
    if not begun:
        raise RunError(f"There is no run in {parent}/.", "Name its folder with --run-dir.")
    unfinished = [run for run in begun if not run.finished]
    return max(unfinished or begun, key=_written)


def _written(run: RunDir) -> float:
    return (run.log if run.log.is_file() else run.recipe).stat().st_mtime
