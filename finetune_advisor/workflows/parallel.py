"""Runs that do not need each other: one after another in this process, or side by side on Ray.

Ray finds its workers by itself: those of this machine, or of the cluster that RAY_ADDRESS names, whose machines have
to see the same folders. A run that is finished is not trained again and one that was cut off goes on, so all of them
can be asked for again at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune_advisor import dataset
from finetune_advisor.errors import FinetuneAdvisorError, RunError
from finetune_advisor.images.split import load_splits
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training import prepare
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher

log = logging.getLogger(__name__)

OF_WHAT_IS_SHARED = (dataset.log, prepare.log)
"""Who warns of the images and of what the network is shown, before a run begins."""


@dataclass(frozen=True)
class Job:
    """One run, with the split of another."""

    recipe: Recipe
    folder: Path
    splits: Path


def train_all(jobs: Sequence[Job], *, device: str, watcher: Watcher, on_ray: bool = False) -> list[RunDir]:
    """Train what is not trained yet; the runs in the order of the jobs.

    Args:
        watcher: told about each run; one on Ray is told about in its own log.
        on_ray: side by side on Ray.

    Raises:
        RunError: Ray is asked for and not installed, or one of the runs on it failed.
        FinetuneAdvisorError: what `train` raises.
    """
    todo = [job for job in jobs if not RunDir(job.folder).finished]
    if on_ray and todo:
        _on_ray(todo, device)
    else:
        with _each_said_once():
            for number, job in enumerate(todo, start=1):
                log.info("%s, %d of %d", job.folder.name, number, len(todo))
                _train(job, device, watcher)
    return [RunDir(job.folder) for job in jobs]


@contextmanager
def _each_said_once() -> Iterator[None]:
    """Keep what is said of the images, which all runs share, from being said again for each of them."""
    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        repeated = message in said
        said.add(message)
        return not repeated

    for speaker in OF_WHAT_IS_SHARED:
        speaker.addFilter(is_new)
    try:
        yield
    finally:
        for speaker in OF_WHAT_IS_SHARED:
            speaker.removeFilter(is_new)


def _train(job: Job, device: str, watcher: Watcher) -> None:
    run = RunDir(job.folder)
    if run.recipe.is_file():
        train(load_recipe(run.recipe), run, resume=True, device=device, watcher=watcher)
    else:
        train(job.recipe, run, device=device, watcher=watcher, splits=load_splits(job.splits))


def _on_ray(jobs: Sequence[Job], device: str) -> None:
    if find_spec("ray") is None:
        raise RunError("Ray is not installed.", "Install it: pip install ray; or train without --ray.")
    ray: Any = import_module("ray")
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        on_gpu = device.startswith("cuda")
        remotely = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=0)(_in_worker)
        waiting = {remotely.remote(job, "cuda" if on_gpu else device): job for job in jobs}
        log.info("%d runs are with Ray, which has %s", len(jobs), _resources(ray.cluster_resources()))
        while waiting:
            [ready], _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(ready)
            _settle(job, ray, ready)
            log.info("%s is trained, %d to go", job.folder.name, len(waiting))
    finally:
        if started:
            ray.shutdown()


def _in_worker(job: Job, device: str) -> tuple[str, str | None] | None:
    """Train in a process of Ray's; None, or what went wrong and the hint: an exception would not come back whole."""
    try:
        _train(job, device, Watcher())
    except FinetuneAdvisorError as error:
        return error.message, error.hint
    return None


def _settle(job: Job, ray: Any, ready: Any) -> None:
    try:
        failed = ray.get(ready)
    except ray.exceptions.WorkerCrashedError as error:
        raise RunError(f"{job.folder.name}: its process on Ray died.", "The same command again goes on.") from error
    if failed is not None:
        message, hint = failed
        raise RunError(f"{job.folder.name}: {message}", hint)


def _resources(found: Mapping[str, float]) -> str:
    return f"{found.get('CPU', 0):.0f} CPUs and {found.get('GPU', 0):.0f} GPUs"
