"""The verb: Recipe + images -> Run. Puts the parts together and writes the run folder."""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from finetune_advisor import processes
from finetune_advisor.dataset import Dataset
from finetune_advisor.errors import RunError
from finetune_advisor.images.decode import changes
from finetune_advisor.images.split import SavedSplits, load_splits, save_splits
from finetune_advisor.recipes.load import dump_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.environment import environment
from finetune_advisor.records.history import save_history, summary
from finetune_advisor.records.profile import Profile
from finetune_advisor.records.rundir import RunDir, RunPlace
from finetune_advisor.storage.files import atomic_write, remove_leftovers, save_json, storage_errors
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.training.fine_tune import fine_tune
from finetune_advisor.training.interrupt import resumable
from finetune_advisor.training.prepare import Prepared, prepare
from finetune_advisor.training.probe import fit_probe
from finetune_advisor.training.results import Scored, save_probe, save_results
from finetune_advisor.training.tracker import require_tracker, tracked
from finetune_advisor.training.watch import Clock, Told, Watcher

log = logging.getLogger(__name__)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Everything this package logs inside the block is also appended to `path`.

    Raises:
        StorageError: the file cannot be written.
    """
    with storage_errors(path):
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("finetune_advisor")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


def describe(device: str) -> dict[str, Any]:
    """The device in words, and the threads that torch computes with on the CPU."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else platform.processor() or platform.machine()
    return {"kind": kind, "name": name, "torch_threads": torch.get_num_threads()}


@contextmanager
def compilation_explained(recipe: Recipe, run: RunDir) -> Iterator[None]:
    """Training inside tells a person what to do where the network cannot be compiled: at its first pass, or later.

    Raises:
        RunError: it cannot be compiled.
    """
    if not recipe.runtime.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as problem:
        raise RunError(
            f"torch.compile does not get along with {recipe.backbone.name} here: {_reason(problem)}",
            f"Set runtime.compile to false in {run.recipe}, and go on with: {run.resume_command}",
        ) from problem


def _reason(problem: Exception) -> str:
    """The innermost error in a line."""
    while isinstance(inner := problem.__cause__ or getattr(problem, "inner_exception", None), Exception):
        problem = inner
    return next(iter(str(problem).splitlines()), type(problem).__name__)


def train(
    recipe: Recipe,
    run: RunPlace,
    *,
    profile: Profile | None = None,
    resume: bool = False,
    device: str = "cpu",
    watcher: Watcher | None = None,
    splits: SavedSplits | None = None,
) -> RunDir:
    """Execute a recipe and write its run folder, which no other process can write meanwhile.

    Under torchrun all processes train together, each on its share of every batch; the main one writes.

    Args:
        recipe: what to do; with `resume`, the one in the run folder.
        run: where to write; must be empty or absent, unless resuming. A `NumberedRun` gets its number when the
            writing begins.
        profile: the analysis the recipe came from, copied into the run folder if it is of these very images.
        resume: go on from the last checkpoint of this folder.
        device: torch device.
        watcher: told about progress.
        splits: how the images are split, as another run did; None splits them as the recipe says.

    Raises:
        DataError, BackboneError, RecipeError: what the person can mend; nothing is left behind when it is
            found before training starts.
        RunError: the folder is not empty, what it holds cannot be resumed, or another process is writing it.
        Interrupted: Ctrl-C or SIGTERM after the run began; the state is saved.
    """
    require_tracker(recipe)
    clock = Clock()
    watcher = watcher or Watcher()
    device = processes.own_device(device)
    with ExitStack() as held:
        if resume:
            assert isinstance(run, RunDir), "only a run that has a folder can go on"
            folder = run
            folder.require_begun()
            if processes.is_main():
                held.enter_context(folder.locked())
                remove_leftovers(
                    folder.checkpoints, folder.path, folder.model, folder.refit.path, folder.refit.checkpoints
                )
            held.enter_context(resumable(folder))
            prepared = prepare(recipe, device=device, watcher=watcher).split_as(load_splits(folder.splits))
        else:
            if processes.is_main():
                run.require_free()
            prepared = prepare(recipe, device=device, watcher=watcher)
            prepared = prepared.split_as(splits) if splits is not None else prepared
            folder = _begun(run, prepared, profile, device, held)
            held.enter_context(resumable(folder))
        clock.images_done()
        if processes.is_main():
            held.enter_context(logged(folder.log))
            watcher.on_folder(folder.path)
            watcher = Told(watcher, held.enter_context(tracked(recipe, folder)))
        _execute(prepared, folder, clock, watcher, resume=resume, device=device)
    return folder


def _begun(run: RunPlace, prepared: Prepared, profile: Profile | None, device: str, held: ExitStack) -> RunDir:
    """The folder of a new run with what it starts from, which the main process makes and holds."""
    folder = None
    if processes.is_main():
        folder = held.enter_context(run.claimed())
        _begin(folder, prepared, profile, device)
    folder = processes.from_main(folder)
    assert folder is not None, "the main process has made it"
    return folder


def _begin(run: RunDir, prepared: Prepared, profile: Profile | None, device: str) -> None:
    """Write what a run starts from; the recipe last, so that a folder with a recipe is one that can be resumed."""
    save_splits(prepared.data.listing, run.splits, family_N=prepared.data.family_N)
    save_json(run.environment, environment(describe(device)))
    if profile is not None and _is_of(profile, prepared.data):
        profile.save(run.profile)
    atomic_write(run.recipe, dump_recipe(prepared.recipe))


def _is_of(profile: Profile, data: Dataset) -> bool:
    """Whether an analysis saw these very images; what changed since is logged in a line."""
    images = len(data.listing.samples)
    if profile.contents is None:
        found = f"{images - profile.images:+,} images" if images != profile.images else ""
    else:
        try:
            seen = changes(profile.contents, data.contents)
        except ValueError as problem:
            log.warning("profile.json is damaged (contents: %s); the run keeps no copy of the analysis", problem)
            return False
        if profile.sampled is not None:
            # Of images that were only listed the profile knows the number, and of a sample what became of each.
            listed = images + len(data.bad_files)
            seen = replace(seen, added=max(0, listed - profile.sampled.of))
        found = str(seen) if seen else ""
    if found:
        log.warning(
            "the images are not those of the analysis: %s since. Its profile is not kept with the run; "
            "`finetune-advisor analyze` measures them again.",
            found,
        )
    return not found


def _execute(prepared: Prepared, run: RunDir, clock: Clock, watcher: Watcher, *, resume: bool, device: str) -> None:
    log.info("%s: %s", "resumed" if resume else "started", prepared.recipe.name)
    for name, reason in prepared.data.bad_files.items():
        log.info("left out: %s: %s", name, reason)
    if prepared.recipe.strategy.trains_network:
        with compilation_explained(prepared.recipe, run):
            val, test = fine_tune(prepared, run, clock, watcher, resume=resume, device=device)
    else:
        val, test = _fit(prepared, run, watcher, device)
    spent = clock.spent()
    if processes.is_main():
        # Before the file that says the run is finished: nothing stays behind.
        for caches in (run.caches, run.refit.caches):
            shutil.rmtree(caches, ignore_errors=True)
        save_results(run, prepared, val=val, test=test, spent=spent)
    processes.barrier()
    log.info("finished in %.1f s", spent.images + spent.training)


def _fit(prepared: Prepared, run: RunDir, watcher: Watcher, device: str) -> tuple[Scored, Scored | None]:
    recipe, data = prepared.recipe, prepared.data
    assert isinstance(recipe.strategy, LinearProbe | StageProbe)
    balanced = recipe.data.class_weights == "balanced"
    probe = fit_probe(recipe.strategy, data, class_weights=balanced, seed=recipe.seed, device=device)
    for record in probe.records:
        watcher.on_record(record)
        log.info(summary(record))
    if processes.is_main():
        save_history(run.history, probe.records)
        save_probe(run, probe, prepared, device=device)
    test_N = data.index("test")
    test = Scored(test_N, probe.probabilities(data.features[0].rows(test_N))) if len(test_N) else None
    return Scored(probe.val_index_N, probe.val_NK), test
