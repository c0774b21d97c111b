"""The verb: Recipe + images -> Run. Puts the parts together, writes the run folder, resumes."""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from finetune_advisor import processes
from finetune_advisor.artifacts.environment import environment
from finetune_advisor.artifacts.history import Record, append_record, save_history, summary
from finetune_advisor.artifacts.json_file import save_json
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.recipe import Budget, Recipe
from finetune_advisor.artifacts.recipe_file import dump_recipe
from finetune_advisor.artifacts.rundir import RunDir, RunPlace
from finetune_advisor.artifacts.storage import atomic_write, remove_leftovers
from finetune_advisor.data.split_file import SavedSplits, load_splits, save_splits
from finetune_advisor.errors import Interrupted
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.training.clock import Clock
from finetune_advisor.training.device import describe
from finetune_advisor.training.identity import Identity
from finetune_advisor.training.interrupt import StopRequest, hint_for, resumable, stop_request
from finetune_advisor.training.loop import Stopped
from finetune_advisor.training.network import Setup, set_up
from finetune_advisor.training.outcome import Scored, save_network, save_probe, save_results
from finetune_advisor.training.prepare import Prepared, prepare
from finetune_advisor.training.probe import fit_probe
from finetune_advisor.training.recovery import go_back
from finetune_advisor.training.run_log import logged
from finetune_advisor.training.state import TrainState, load_weights
from finetune_advisor.training.step import LOWER_RATE, NotFinite
from finetune_advisor.training.timetable import settled
from finetune_advisor.training.tracker import require_tracker, tracked
from finetune_advisor.training.watch import Told, Watcher

log = logging.getLogger(__name__)


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
        profile: the analysis the recipe came from, copied into the run folder.
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
    save_splits(prepared.data.listing, run.splits)
    save_json(run.environment, environment(describe(device)))
    if profile is not None:
        profile.save(run.profile)
    atomic_write(run.recipe, dump_recipe(prepared.recipe))


def _execute(prepared: Prepared, run: RunDir, clock: Clock, watcher: Watcher, *, resume: bool, device: str) -> None:
    log.info("%s: %s", "resumed" if resume else "started", prepared.recipe.name)
    for name, reason in prepared.data.bad_files.items():
        log.info("left out: %s: %s", name, reason)
    if prepared.recipe.strategy.trains_network:
        val, test = _train_network(prepared, run, clock, watcher, resume=resume, device=device)
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


def _train_network(
    prepared: Prepared, run: RunDir, clock: Clock, watcher: Watcher, *, resume: bool, device: str
) -> tuple[Scored, Scored | None]:
    setup = _trained(prepared, run, run, clock, watcher, resume=resume, device=device)
    val = _scored(setup, prepared, "val")
    assert val is not None, "every split has validation images"
    if prepared.recipe.evaluation.refit:
        prepared = prepared.with_validation_images()
        images = len(prepared.data.index("train"))
        log.info("trained again on %d images: those of training and of validation", images)
        if processes.is_main():
            watcher.on_refit(images)
        resume = resume and processes.from_main(run.refit.last.is_file())
        setup = _trained(prepared, run.refit, run, clock, watcher, resume=resume, device=device)
    if processes.is_main():
        save_network(run, prepared, setup.whitening)
    return val, _scored(setup, prepared, "test")


def _trained(
    prepared: Prepared, place: RunDir, run: RunDir, clock: Clock, watcher: Watcher, *, resume: bool, device: str
) -> Setup:
    """Train to the end.

    Args:
        place: where history and checkpoints lie.
        run: the whole run, which a person resumes.

    Returns:
        What was trained, its network with the best weights.
    """
    identity, retries = Identity.of(prepared), prepared.recipe.runtime.retries
    setup = set_up(prepared, device=device, caches=place.caches, watcher=watcher)
    setup = settled(setup, prepared, clock, run=place)
    _keep_signal(setup, place)
    state = setup.start()
    if resume:
        _restore(state, place, identity)
        clock.earlier = state.spent

    def save(checkpoint: Path) -> None:
        if processes.is_main():
            state.spent = clock.spent()
            state.save(checkpoint, identity=identity)

    if not processes.from_main(place.last.is_file()):
        save(place.last)
    with stop_request() as stop:
        try:
            while (problem := _advance(setup, state, place, watcher, stop, save)) is not None:
                step = state.step + 1
                try:
                    go_back(state, lambda: _restore(state, place, identity), problem, retries=retries)
                except NotFinite as end:
                    _note_the_end(place, run, step, setup, end)
                    raise
                save(place.last)
        except Stopped:
            save(place.last)
            processes.barrier()
            raise _interrupted(run, stop, state, setup) from None
    if processes.is_main():
        load_weights(setup.backbone.net, place.best)
    processes.copy_from_main(setup.backbone.net.state_dict().values())
    return setup


def _note_the_end(place: RunDir, run: RunDir, step: int, setup: Setup, end: NotFinite) -> None:
    """Write down why a run ends without its last evaluations, for whoever diagnoses it; a resume takes it back."""
    command = f"finetune-advisor diagnose {shlex.quote(str(run.path))} --apply better.yaml"
    end.hint = f"{LOWER_RATE} `{command}` writes such a recipe."
    if processes.is_main():
        epoch = step / setup.method.steps_per_epoch
        append_record(
            place.history, Record(step, epoch, None, None, None, None, None, None, 0.0, events=(end.message,))
        )


def _keep_signal(setup: Setup, run: RunDir) -> None:
    """Write down how the outputs of a network of random weights vary; the same again when a run goes on."""
    if setup.signal and processes.is_main():
        save_json(run.signal, [asdict(layer) for layer in setup.signal])


def _advance(
    setup: Setup,
    state: TrainState,
    run: RunDir,
    watcher: Watcher,
    stop: StopRequest,
    save: Callable[[Path], None],
) -> NotFinite | None:
    """Train to the end, or until there is no progress any more; the folder follows each evaluation.

    Returns:
        What kept it from the end; None when it came there.

    Raises:
        Stopped: the run was asked to stop, and what it found is written down.
    """
    if _stopped_early(state, setup.budget):
        return None
    try:
        for record in setup.records(state, watcher.on_step, lambda: bool(stop)):
            if setup.is_snapshot(state.step):
                save(run.snapshots / f"step-{state.step}.safetensors")
            _keep(record, state, run, watcher, save)
            if _stopped_early(state, setup.budget):
                log.info("stopped early: no progress in %d evaluations", state.stale_evaluations)
                break
    except NotFinite as problem:
        return problem
    if any(processes.gather(bool(stop))):
        raise Stopped
    return None


def _keep(record: Record, state: TrainState, run: RunDir, watcher: Watcher, save: Callable[[Path], None]) -> None:
    if processes.is_main():
        append_record(run.history, record)
    log.info(summary(record))
    if state.best_step == state.step:
        save(run.best)
    save(run.last)
    watcher.on_record(record)


def _scored(setup: Setup, prepared: Prepared, split: str) -> Scored | None:
    index_N = prepared.data.index(split)
    return Scored(index_N, setup.probabilities(split)) if len(index_N) else None


def _interrupted(run: RunDir, stop: StopRequest, state: TrainState, setup: Setup) -> Interrupted:
    done = f"after step {state.step} of {setup.method.steps}"
    by = next(name for name in processes.gather(stop.signal_name) if name)
    log.info("stopped by %s %s", by, done)
    return Interrupted(f"Stopped by {by} {done}; the state is saved.", hint_for(run))


def _restore(state: TrainState, run: RunDir, identity: Identity) -> None:
    """Go back to the last checkpoint, or to the start of a run that did not get to one; the history follows."""
    if processes.from_main(run.last.is_file()):
        state.load(run.last, identity=identity)
    # Images in the tally wait for the evaluation that ends their epoch.
    evaluated = state.step - 1 if state.tally.images else state.step
    if processes.is_main():
        save_history(run.history, [record for record in run.load_history() if record.step <= evaluated])


def _stopped_early(state: TrainState, budget: Budget) -> bool:
    return budget.early_stopping is not None and state.stale_evaluations >= budget.early_stopping
