"""A budget in minutes becomes steps: measured on the first steps, planned once, kept by the run.

The schedule is a function of progress and has to know its end. A plan that follows the clock all the way would give
another network every time, and another after each interruption; so the clock is asked once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from time import perf_counter

from finetune_advisor import processes
from finetune_advisor.artifacts.json_file import save_json
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.errors import RunError
from finetune_advisor.training.clock import Clock
from finetune_advisor.training.network import Setup
from finetune_advisor.training.prepare import Prepared
from finetune_advisor.training.rehearsal import rehearsal, take_steps
from finetune_advisor.training.watch import Progress

log = logging.getLogger(__name__)

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
