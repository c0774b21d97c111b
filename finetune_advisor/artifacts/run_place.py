"""Where a new run goes, and which one is gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.artifacts.storage import require_writable, storage_errors
from finetune_advisor.errors import RunError


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
