"""Strategies that train layers: from the first step to the model, through interruptions, and again on all images."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from finetune_advisor import processes
from finetune_advisor.artifacts.history import Record, append_record, save_history, summary
from finetune_advisor.artifacts.json_file import save_json
from finetune_advisor.artifacts.recipe import Budget
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.errors import Interrupted
from finetune_advisor.training.clock import Clock
from finetune_advisor.training.identity import Identity
from finetune_advisor.training.interrupt import StopRequest, hint_for, stop_request
from finetune_advisor.training.loop import Stopped
from finetune_advisor.training.network import Setup, set_up
from finetune_advisor.training.outcome import Scored, save_network
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.recovery import go_back
from finetune_advisor.training.state import TrainState, load_weights
from finetune_advisor.training.step import LOWER_RATE, NotFinite
from finetune_advisor.training.timetable import settled
from finetune_advisor.training.watch import Watcher

log = logging.getLogger(__name__)


def fine_tune(
    prepared: Prepared, run: RunDir, clock: Clock, watcher: Watcher, *, resume: bool, device: str
) -> tuple[Scored, Scored | None]:
    """Train layers of the network as the recipe says, and write `model/`, history and checkpoints.

    Args:
        run: begun; with `resume` it goes on from its last checkpoint.
        clock: counts the seconds of all parts of the run.

    Returns:
        Validation images, as the network judges them that has not seen them, and test images as the model does.

    Raises:
        DataError: an image cannot be read any more.
        RunError: the checkpoint is damaged, of another version, or belongs to another recipe or data set; or there is
            no time for a step.
        NotFinite: loss or gradient is no number any more, also after the retries.
        Interrupted: the run was asked to stop; the state is saved.
    """
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
    if mode := prepared.recipe.runtime.compile:
        setup.backbone.net.compile(mode=None if mode is True else mode)
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


def _keep_signal(setup: Setup, place: RunDir) -> None:
    """Write down how the outputs of a network of random weights vary; the same again when a run goes on."""
    if setup.signal and processes.is_main():
        save_json(place.signal, [asdict(layer) for layer in setup.signal])


def _advance(
    setup: Setup,
    state: TrainState,
    place: RunDir,
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
                save(place.snapshots / f"step-{state.step}.safetensors")
            _keep(record, state, place, watcher, save)
            if _stopped_early(state, setup.budget):
                log.info("stopped early: no progress in %d evaluations", state.stale_evaluations)
                break
    except NotFinite as problem:
        return problem
    if any(processes.gather(bool(stop))):
        raise Stopped
    return None


def _keep(record: Record, state: TrainState, place: RunDir, watcher: Watcher, save: Callable[[Path], None]) -> None:
    if processes.is_main():
        append_record(place.history, record)
    log.info(summary(record))
    if state.best_step == state.step:
        save(place.best)
    save(place.last)
    watcher.on_record(record)


def _scored(setup: Setup, prepared: Prepared, split: str) -> Scored | None:
    index_N = prepared.data.index(split)
    return Scored(index_N, setup.probabilities(split)) if len(index_N) else None


def _interrupted(run: RunDir, stop: StopRequest, state: TrainState, setup: Setup) -> Interrupted:
    done = f"after step {state.step} of {setup.method.steps}"
    by = next(name for name in processes.gather(stop.signal_name) if name)
    log.info("stopped by %s %s", by, done)
    return Interrupted(f"Stopped by {by} {done}; the state is saved.", hint_for(run))


def _restore(state: TrainState, place: RunDir, identity: Identity) -> None:
    """Go back to the last checkpoint, or to the start of a run that did not get to one; the history follows."""
    if processes.from_main(place.last.is_file()):
        state.load(place.last, identity=identity)
    # Images in the tally wait for the evaluation that ends their epoch.
    evaluated = state.step - 1 if state.tally.images else state.step
    if processes.is_main():
        save_history(place.history, [record for record in place.load_history() if record.step <= evaluated])


def _stopped_early(state: TrainState, budget: Budget) -> bool:
    return budget.early_stopping is not None and state.stale_evaluations >= budget.early_stopping
