"""A run folder: the one place that knows a run's file names."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_advisor.artifacts.history import Record, load_history
from finetune_advisor.artifacts.storage import atomic_write, storage_errors
from finetune_advisor.errors import RunError


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
    def history(self) -> Path:
        return self.path / "history.jsonl"

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
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

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

    def require_free(self) -> None:
        """Check that a new run can be put here.

        Raises:
            RunError: there is already something.
        """
        with storage_errors(self.path):
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path} is a file, not a run folder.", "Choose another --run-dir.")
            if self.path.is_dir() and any(self.path.iterdir()):
                raise self._not_empty()

    def create(self) -> None:
        """Make the folder for a new run.

        Raises:
            RunError: there is already something in it.
            StorageError: it cannot be made.
        """
        self.require_free()
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def _not_empty(self) -> RunError:
        if not self.recipe.is_file():
            return RunError(f"{self.path} is not empty and is not a run.", "Choose another --run-dir.")
        if self.finished:
            hint = "Choose another --run-dir, or leave it out to get the next free number."
        else:
            hint = f"Go on with it: finetune-advisor run --run-dir {shlex.quote(str(self.path))} --resume"
        return RunError(f"{self.path} already holds a run.", hint)

    def load_metrics(self) -> dict[str, Any]:
        """The content of metrics.json.

        Raises:
            RunError: the run did not finish or the file is damaged.
        """
        return _load_json(self.metrics, f"{self.path} holds no finished run")

    def load_history(self) -> tuple[Record, ...]:
        return load_history(self.history)


def next_run_dir(parent: Path, name: str) -> RunDir:
    """The first free `parent/name-<n>`, counting from 1."""
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return RunDir(parent / f"{name}-{number}")


def latest_run(parent: Path) -> RunDir:
    """The run folder below `parent` that was written to last.

    Raises:
        RunError: there is none.
    """
    runs = [RunDir(path) for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    begun = [run for run in runs if run.recipe.is_file()]
    if not begun:
        raise RunError(f"There is no run in {parent}/.", "Name its folder with --run-dir.")
    return max(begun, key=lambda run: run.log.stat().st_mtime if run.log.is_file() else run.recipe.stat().st_mtime)


def save_json(path: Path, value: object) -> None:
    """Write one JSON document, atomically; bytes of file names that are not UTF-8 become JSON's escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write(path, text.encode(errors="backslashreplace"))


def _load_json(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{otherwise}: {path.name} is missing.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise RunError(f"{otherwise}: {path.name} is damaged ({problem}).") from problem
    if not isinstance(loaded, dict):
        raise RunError(f"{otherwise}: {path.name} is not a JSON object.")
    return loaded
