"""The verb: Recipe + images -> Run. Puts the parts together, writes the run folder, resumes."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from finetune_advisor.artifacts.environment import environment
from finetune_advisor.artifacts.history import append_record, save_history
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.recipe import Budget, Recipe
from finetune_advisor.artifacts.recipe_file import dump_recipe
from finetune_advisor.artifacts.rundir import RunDir, save_json
from finetune_advisor.artifacts.storage import atomic_write, storage_errors
from finetune_advisor.data.split_file import apply_splits, load_splits, save_splits
from finetune_advisor.dataset import Dataset, open_dataset
from finetune_advisor.errors import Interrupted
from finetune_advisor.features import instrument
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.training.interrupt import stop_request
from finetune_advisor.training.network import Setup, set_up
from finetune_advisor.training.outcome import Scored, save_network, save_probe, save_results
from finetune_advisor.training.probe import fit_probe, probe_stages
from finetune_advisor.training.state import TrainState, load_weights
from finetune_advisor.training.watch import Progress, Watcher

log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    run: RunDir,
    *,
    profile: Profile | None = None,
    resume: bool = False,
    device: str = "cpu",
    watcher: Watcher | None = None,
) -> RunDir:
    """Execute a recipe and write its run folder.

    Args:
        recipe: what to do; with `resume`, the one in the run folder.
        run: where to write; must be empty or absent, unless resuming.
        profile: the analysis the recipe came from, copied into the run folder.
        resume: go on from the last checkpoint of this folder.
        device: torch device.
        watcher: told about progress.

    Raises:
        DataError, BackboneError, RecipeError: what the person can mend; nothing is left behind when it is
            found before training starts.
        RunError: the folder is not empty, or what it holds cannot be resumed.
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    start = perf_counter()
    watcher = watcher or Watcher()
    if not resume:
        run.require_free()
    data = dataset_of(recipe, device=device, watcher=watcher)
    setup = _checked(recipe, data, device)
    if resume:
        apply_splits(data.listing, load_splits(run.splits))
    else:
        _begin(run, recipe, data, profile)
    ready = perf_counter()
    with _logged(run):
        log.info("%s: %s", "resumed" if resume else "started", recipe.name)
        for name, reason in data.bad_files.items():
            log.info("left out: %s: %s", name, reason)
        val, test = (
            _train_network(setup, run, data, watcher, resume) if setup else _fit(recipe, run, data, device, watcher)
        )
        seconds = {"images": ready - start, "training": perf_counter() - ready, "total": perf_counter() - start}
        save_results(run, recipe, data, val=val, test=test, seconds=seconds)
        log.info("finished in %.1f s", seconds["total"])
    return run


def dataset_of(recipe: Recipe, *, device: str, watcher: Watcher) -> Dataset:
    """The images of a recipe; for probes with their features, for trained networks only decoded once."""
    seen = instrument(recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing, seed=recipe.seed)
    return open_dataset(
        recipe.data.path,
        () if recipe.strategy.trains_network else (seen,),
        validation=recipe.data.validation,
        seed=recipe.seed,
        device=device,
        workers=recipe.runtime.workers,
        progress=watcher.on_images,
    )


def _checked(recipe: Recipe, data: Dataset, device: str) -> Setup | None:
    """The network to train, None for a probe; raises what a person can mend, before anything is written."""
    if isinstance(recipe.strategy, LinearProbe | StageProbe):
        probe_stages(recipe.strategy, data.features[0])
        return None
    return set_up(recipe, data, device=device)


def _begin(run: RunDir, recipe: Recipe, data: Dataset, profile: Profile | None) -> None:
    """Write what a run starts from; the recipe last, so that a folder with a recipe is one that can be resumed."""
    run.create()
    save_splits(data.listing, run.splits)
    save_json(run.environment, environment())
    if profile is not None:
        profile.save(run.profile)
    resolved = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": str(data.listing.root)})})
    atomic_write(run.recipe, dump_recipe(resolved))


@contextmanager
def _logged(run: RunDir) -> Iterator[None]:
    """Everything this package logs inside the block also goes to run.log."""
    with storage_errors(run.log):
        handler = logging.FileHandler(run.log, encoding="utf-8", errors="backslashreplace")
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


def _fit(recipe: Recipe, run: RunDir, data: Dataset, device: str, watcher: Watcher) -> tuple[Scored, Scored | None]:
    strategy = recipe.strategy
    assert isinstance(strategy, LinearProbe | StageProbe)
    balanced = recipe.data.class_weights == "balanced"
    probe = fit_probe(strategy, data, class_weights=balanced, seed=recipe.seed, device=device)
    save_history(run.history, probe.records)
    for record in probe.records:
        watcher.on_record(record)
        log.info(
            "strength %g: out-of-fold accuracy %.4f, loss %.4f", record.strength, record.val_accuracy, record.val_loss
        )
    preprocess = instrument(recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing).preprocess
    save_probe(run, probe, recipe, data.classes, preprocess)
    test_N = data.index("test")
    test = Scored(test_N, probe.probabilities(data.features[0].rows(test_N))) if len(test_N) else None
    return Scored(probe.val_index_N, probe.val_NK), test


def _train_network(
    setup: Setup, run: RunDir, data: Dataset, watcher: Watcher, resume: bool
) -> tuple[Scored, Scored | None]:
    identity = _identity(setup.recipe, data)
    state = setup.start()
    if resume:
        _restore(state, run, identity)
    budget = setup.recipe.budget
    assert budget is not None
    with stop_request() as stop:

        def on_step(progress: Progress) -> None:
            watcher.on_step(progress)
            if stop:
                state.save(run.last, identity=identity)
                raise Interrupted(
                    f"Stopped by {stop.signal_name} after step {progress.step} of {progress.steps}; "
                    "the state is saved.",
                    f"Go on with: finetune-advisor run --run-dir {shlex.quote(str(run.path))} --resume",
                )

        for record in () if _stopped_early(state, budget) else setup.records(state, on_step):
            append_record(run.history, record)
            log.info("epoch %.2f: %s", record.epoch, record)
            if state.stale_evaluations == 0:
                state.save(run.best, identity=identity)
            state.save(run.last, identity=identity)
            watcher.on_record(record)
            if _stopped_early(state, budget):
                log.info("stopped early: no progress in %d evaluations", state.stale_evaluations)
                break
    net = setup.backbone.net
    load_weights(net, run.best)
    save_network(run, net, setup.recipe, data.classes, setup.method.preprocess)
    scored = {
        name: Scored(index_N, setup.probabilities(net, data.samples(index_N)))
        for name in ("val", "test")
        if len(index_N := data.index(name))
    }
    return scored["val"], scored.get("test")


def _restore(state: TrainState, run: RunDir, identity: str) -> None:
    """Go back to the last checkpoint, or to the start of a run that did not get to one; the history follows."""
    if run.last.is_file():
        state.load(run.last, identity=identity)
    # Images in the tally wait for the evaluation that ends their epoch.
    evaluated = state.step - 1 if state.tally.images else state.step
    save_history(run.history, [record for record in run.load_history() if record.step <= evaluated])


def _stopped_early(state: TrainState, budget: Budget) -> bool:
    return budget.early_stopping is not None and state.stale_evaluations >= budget.early_stopping


def _identity(recipe: Recipe, data: Dataset) -> str:
    """Digest of what a resumed run must share with the interrupted one."""
    path_free = recipe.model_dump(mode="json", exclude={"data": {"path"}, "runtime": {"workers"}})
    images = [(s.name, s.split, s.label, d) for s, d in zip(data.listing.samples, data.digests, strict=True)]
    text = repr((sorted(path_free.items()), data.classes, images))
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()
