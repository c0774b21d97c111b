"""Runs of the command line in fresh processes, timed from outside, and what they left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.records.history import Record
from finetune_advisor.records.rundir import RunDir


@dataclass(frozen=True)
class Run:
    """One finished run."""

    seconds: float
    """Of the whole process, imports and the test included."""
    test_accuracy: float
    records: tuple[Record, ...]

    @property
    def epochs_per_second(self) -> float:
        """After the first epoch, with its evaluation: what is computed once belongs to the first."""
        first, last = self.records[0], self.records[-1]
        return (last.epoch - first.epoch) / (last.seconds - first.seconds)


def run(recipe: str, data: Path, *settings: str, device: str, cache: Path | None = None) -> Run:
    """Run a shipped recipe with these `--set` settings on a folder, in a process of its own.

    Args:
        cache: the cache folder; None is an empty one.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = RunDir(Path(folder) / "run")
        arguments = ["run", recipe, "--set", f"data.path={data.resolve()}", "--run-dir", str(place.path)]
        for setting in settings:
            arguments += ["--set", setting]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache or Path(folder) / "cache")}
        seconds = timed([sys.executable, "-m", "finetune_advisor", *arguments, "--device", device], environment)
        metrics = json.loads(place.metrics.read_text())
        return Run(seconds, metrics["test"]["accuracy"], place.load_history())


def timed(command: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """Seconds of a command that has to end well; its output goes to standard error."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True)
    return time.perf_counter() - start
