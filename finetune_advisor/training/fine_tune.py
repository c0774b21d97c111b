"""Strategies that train layers: from the first step to the model, through interruptions, and again on all images.

The schedule is a function of progress and has to know its end. A plan that follows the clock all the way would give
another network every time, and another after each interruption; so the clock is asked once.
"""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from time import perf_counter

from finetune_advisor import processes
from finetune_advisor.errors import Interrupted, RunError
from finetune_advisor.recipes.recipe import Budget
from finetune_advisor.records.history import Record, append_record, save_history, summary
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.storage.files import save_json
from finetune_advisor.techniques.schedule import Schedule
from finetune_advisor.training.interrupt import StopRequest, hint_for, stop_request
from finetune_advisor.training.loop import LOWER_RATE, NotFinite, Stopped, fit
from finetune_advisor.training.network import Setup, set_up
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.results import Scored, save_network
from finetune_advisor.training.state import Identity, TrainState, go_back, load_weights
from finetune_advisor.training.watch import Clock, Progress, Watcher

log = logging.getLogger(__name__)


@contextmanager
def rehearsal(setup: Setup) -> Iterator[TrainState]:
    """A state to train with while the block runs; afterward the network is what it was, to the bit."""
    net = setup.backbone.net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    try:
        yield setup.start()
    finally:
        net.load_state_dict(before)
        net.zero_grad(set_to_none=True)


def take_steps(
    setup: Setup,
    state: TrainState,
    count: int,
    *,
    on_step: Callable[[Progress], None],
    schedule: Schedule | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Take the run's own first steps, data loading included and with everything unfrozen, and evaluate nothing.

    Args:
        setup: whose images, network and method are used.
        state: of a rehearsal.
        count: how many.
        on_step: told about every step.
        schedule: in place of the recipe's; `count` steps are all of its progress.
        enough: asked before each step whether to stop.

    Raises:
        DataError, NotFinite: see `fit`.
    """
    unevaluated = count + 1
    all_unfrozen = max(group.epoch for group in setup.groups)
    method = replace(
        setup.method, schedule=schedule or setup.method.schedule, steps=unevaluated, steps_per_epoch=unevaluated
    )
    batches = takewhile(lambda _: not enough(), setup.feed.batches(0, count))
    for _ in fit(
        state,
        batches,
        method,
        forward=setup.feed.forward,
        set_mode=lambda: setup.set_mode(epoch=all_unfrozen),
        evaluate=setup.evaluate,
        on_step=on_step,
    ):
        raise AssertionError("a rehearsal evaluates nothing")


WARMUP_STEPS, TIMED_STEPS = 2, 6
"""The first steps start workers and reserve memory; the next ones are like all others."""

RESERVE = 0.05
"""Share of the time that is left free: for checkpoints, the model, and steps slower than the timed ones."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds that the parts of training take here."""

    step: float
    evaluation: float
    """Of the validation images, between two epochs."""
    scoring: float
    """Of validation and test images, after the last step."""


def settled(setup: Setup, prepared: Prepared, clock: Clock, *, run: RunDir) -> Setup:
    """The setup with as many steps as a budget in minutes allows; any other budget has its steps already.

    Args:
        setup: what will be trained.
        prepared: the images.
        clock: the time that is spent already counts.
        run: where the plan is kept, and found again by a resume.

    Raises:
        RunError: there is time for no step, or the plan that was kept is damaged.
    """
    if setup.budget.minutes is None:
        return setup
    kept = run.load_timetable() if processes.is_main() and run.timetable.is_file() else None
    if (kept := processes.from_main(kept)) is not None:
        return _with_steps(setup, kept["steps"])
    pace = measure(setup, scored=1 + len(prepared.data.index("test")) / len(setup.val_labels_N), now=clock.now)
    left = setup.budget.minutes * 60 - clock.spent().total
    left, pace = processes.from_main((left, pace))
    steps = steps_within(left, pace, setup.method.steps_per_epoch)
    told = f"{pace.step:.2f} s a step, {pace.evaluation:.1f} s an evaluation"
    if steps == 0:
        raise RunError(
            f"budget.minutes is {setup.budget.minutes:g}, which leaves {max(left, 0):.0f} s for training: not enough "
            f"for a step, an evaluation and the last scores ({told}).",
            "Give it more time: `--set budget.minutes=...`.",
        )
    log.info("%.0f s are left for training: %d steps fit (%s)", left, steps, told)
    if processes.is_main():
        save_json(run.timetable, {"steps": steps, "seconds": asdict(pace)})
    return _with_steps(setup, steps)


def measure(setup: Setup, *, scored: float, now: Callable[[], float] = perf_counter) -> Pace:
    """Take a few steps as the run will, evaluate once, and forget all of it.

    Args:
        setup: what will be trained.
        scored: how many times the validation images go through the network, or as many others, for the last scores.
        now: a clock, in seconds.
    """
    moments: list[float] = []

    def on_step(progress: Progress) -> None:  # noqa: ARG001
        moments.append(now())

    with rehearsal(setup) as state:
        take_steps(setup, state, WARMUP_STEPS + TIMED_STEPS, on_step=on_step)
        if setup.method.averaging is not None:
            # Also where the average would start later: what it costs belongs to the evaluations to come.
            state.average.add(state.moving, 1.0)
            state.step = setup.method.steps_per_epoch
        start = now()
        setup.judge(state)
        evaluation = now() - start
    timed = moments[WARMUP_STEPS - 1 :]
    return Pace((timed[-1] - timed[0]) / (len(timed) - 1), evaluation, scored * evaluation)


def steps_within(seconds: float, pace: Pace, steps_per_epoch: int) -> int:
    """The most steps that end in time, with an evaluation after each epoch and after the last step."""
    free = seconds * (1 - RESERVE) - pace.scoring
    if free <= 0:
        return 0
    epochs, rest = divmod(free, steps_per_epoch * pace.step + pace.evaluation)
    more = math.floor(max(rest - pace.evaluation, 0) / pace.step)
    return int(epochs) * steps_per_epoch + min(more, steps_per_epoch - 1)


def _with_steps(setup: Setup, steps: int) -> Setup:
    return replace(setup, method=replace(setup.method, steps=steps))


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
