"""A border case settled by trying: short runs of the neighboring recipes on the person's own images.

Successive halving: all recipes get the same images and epochs and are judged on the same held-out images, the better
half goes on to more, until one is left, nothing more can be had from more, or time is over. The time of a round is
planned from steps that were timed here, so the trial ends within its minutes.

Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", AISTATS 2016.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.choice import SURE
from finetune_advisor.advice.table import cell_of_verdicts
from finetune_advisor.artifacts.profile import Cell, Profile, Trial, TrialRung
from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.artifacts.storage import storage_errors
from finetune_advisor.data.sources import Listing
from finetune_advisor.data.wording import listed
from finetune_advisor.data.workers import default_workers
from finetune_advisor.errors import FinetuneAdvisorError, Interrupted
from finetune_advisor.instruments import instrument_of
from finetune_advisor.metrics import paired_lead
from finetune_advisor.training.train import train
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows.pace import Effort, Pace, largest
from finetune_advisor.workflows.trial_images import TrialImages, trial_images
from finetune_advisor.workflows.trial_runs import Bench, Clock, Deadline, Execute, Outcome, OutOfTime, Say

PLANNED = 0.85
"""Share of the time that is planned with; the rest is for steps that take longer than those that were timed."""

LEAST_PER_CLASS = 5
"""Images of each class to learn from, below which a short run says nothing."""

log = logging.getLogger(__name__)

Round = Mapping[Cell, Outcome]


def trial(
    listing: Listing,
    profile: Profile,
    *,
    minutes: float,
    named: Cell | None = None,
    device: str = "cpu",
    progress: Say | None = None,
    clock: Clock = perf_counter,
    execute: Execute | None = None,
) -> Trial | None:
    """Run the profile's cell against its neighbors, within the minutes, and leave nothing on the disk.

    Args:
        listing: the images that the profile was measured on; its test images are not looked at.
        profile: placed in the table.
        minutes: the time given, from the call to the return.
        named: a cell that a person wants to see tried, whether the table names it or not.
        device: torch device.
        progress: told about (seconds gone, seconds given, what is done).
        clock: seconds from any beginning.
        execute: what runs a recipe; `train`, unless a test stands in for it.

    Returns:
        None where there was nothing to settle or the time did not reach for one round; why is logged.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
    """
    cells = candidates(profile, named)
    if len(cells) < 2:
        log.warning(
            "no trial: the table points to %s and to no neighbor; name a recipe to compare with --strategy", cells[0]
        )
        return None
    deadline = Deadline.after(60 * minutes, clock=clock, say=progress or (lambda *_: None))
    try:
        with _temporary_folder() as folder:
            halving = _halve(_bench(listing, profile, cells, folder, deadline, device, execute), cells, profile)
    except OutOfTime as over:
        log.warning("no trial: %g min were over while %s; nothing is decided, give it more", minutes, over)
        return None
    except (KeyboardInterrupt, Interrupted) as stop:
        raise Interrupted(
            "Stopped during the trial: its short runs are deleted, and no recipe was written.",
            "What was measured is remembered: analyze again, with fewer minutes or without --trial.",
        ) from stop
    except FinetuneAdvisorError as problem:
        log.warning("no trial, the advice is the table's alone: %s", problem.message)
        return None
    return _verdict(halving, profile, minutes)


def candidates(profile: Profile, named: Cell | None = None) -> tuple[Cell, ...]:
    """The profile's cell, its neighbors, and the cell a person named, each once."""
    assert profile.cell is not None, "the profile is not placed"
    others = (neighbor.cell for neighbor in profile.neighbors)
    return tuple(dict.fromkeys((profile.cell, *others, *([named] if named else []))))


@dataclass(frozen=True)
class _Halving:
    """The rounds that were finished, at least one."""

    rounds: tuple[Round, ...]
    images: TrialImages
    unfinished: bool


def _halve(bench: Bench, cells: Sequence[Cell], profile: Profile) -> _Halving:
    """All rounds that time allows.

    Raises:
        OutOfTime: not one.
    """
    least = LEAST_PER_CLASS * len(profile.classes)
    paces = {cell: bench.pace(cell, profile, least=least) for cell in cells}
    rounds: list[Round] = []
    before: Effort | None = None
    alive = tuple(cells)
    for left in range(math.ceil(math.log2(len(cells))), 0, -1):
        effort = _plan(bench, [paces[cell] for cell in alive], PLANNED * bench.deadline.left / left, least)
        if effort is None and not rounds:
            raise OutOfTime(f"timing {listed(cells)}")
        if effort is None or (before is not None and effort <= before):
            break
        try:
            done = {
                cell: bench.outcome(cell, effort, paces[cell], doing=f"round {len(rounds) + 1}: {cell}")
                for cell in alive
            }
        except OutOfTime:
            if not rounds:
                raise
            log.warning("the trial's time was over in round %d, which does not count", len(rounds) + 1)
            return _Halving(tuple(rounds), bench.images, unfinished=True)
        rounds.append(done)
        before, alive = effort, _ranked(done)[: math.ceil(len(alive) / 2)]
    return _Halving(tuple(rounds), bench.images, unfinished=False)


def _plan(bench: Bench, paces: Sequence[Pace], seconds: float, least: int) -> Effort | None:
    images = len(bench.images.learn.samples)
    judges = len(bench.images.judge.samples) / images
    return largest(paces, seconds, images=images, least=least, judges=judges)


def _ranked(done: Round) -> tuple[Cell, ...]:
    """Best first: by accuracy, where that is equal by log loss."""
    return tuple(sorted(done, key=lambda cell: (-done[cell].accuracy, done[cell].log_loss)))


def _verdict(halving: _Halving, profile: Profile, minutes: float) -> Trial:
    last = halving.rounds[-1]
    first, second = _ranked(last)[:2]
    names = sorted(last[first].hits)
    hits_first_M, hits_second_M = (np.array([last[cell].hits[name] for name in names]) for cell in (first, second))
    lead, error = paired_lead(hits_first_M, hits_second_M, halving.images.families(names))
    decided = lead > SURE * error
    rungs = (
        TrialRung(
            cell=cell,
            rung=number,
            images=outcome.effort.images,
            epochs=outcome.effort.epochs,
            accuracy=outcome.accuracy,
            log_loss=outcome.log_loss,
            seconds=outcome.seconds,
        )
        for number, done in enumerate(halving.rounds)
        for cell, outcome in done.items()
    )
    return Trial(
        minutes=minutes,
        winner=first if decided else cell_of_verdicts(profile),
        rungs=tuple(rungs),
        decided=decided,
        lead=lead,
        lead_std=error,
        unfinished=halving.unfinished,
    )


def _bench(
    listing: Listing,
    profile: Profile,
    cells: Sequence[Cell],
    folder: Path,
    deadline: Deadline,
    device: str,
    execute: Execute | None,
) -> Bench:
    """The recipes and the images they are tried on, which are looked at here."""
    recipes = {cell: advise(profile, strategy=cell).recipe for cell in cells}
    images = trial_images(
        listing,
        profile,
        tuple(dict.fromkeys(instrument_of(recipe) for recipe in recipes.values() if recipe.needs_features)),
        device=device,
        workers=default_workers(),
        progress=lambda *_: deadline.check("looking at the images"),
    )

    def run(recipe: Recipe, place: RunDir, watcher: Watcher) -> object:
        return train(recipe, place, device=device, watcher=watcher)

    return Bench(folder, images, recipes, execute or run, deadline)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is gone, with all that is in it, when the block ends."""
    with storage_errors(tempfile.gettempdir()):
        folder = tempfile.TemporaryDirectory(prefix="finetune-advisor-trial-")
    with folder as name:
        yield Path(name).resolve()
