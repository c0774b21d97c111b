"""The learning rate range test: train a few steps while the rate rises, and look where the loss falls and explodes.

Source: Smith 2017, Cyclical Learning Rates for Training Neural Networks (section 3.3); the rates rise exponentially and
the sweep stops at an exploding loss as in fastai's `lr_find`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from finetune_advisor import processes
from finetune_advisor.errors import RunError
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import RangeTest
from finetune_advisor.techniques.schedule import Schedule
from finetune_advisor.techniques.strategy import FineTuning
from finetune_advisor.training.fine_tune import rehearsal, take_steps
from finetune_advisor.training.loop import NotFinite
from finetune_advisor.training.network import set_up
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.watch import Progress, Watcher

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0

EXPLODED = 4.0
"""How many times its lowest value the smoothed loss is when the sweep stops."""

SMOOTHING = 3.0
"""Steps: the deviation of the bell that the losses are averaged with. Centered, so that the curve is not late."""

LEAST_FALL = 0.05
"""Share of the first loss by which it has to fall; less is noise, and tells nothing about the rate."""


class _Rise(Schedule):
    """From the lowest to the highest rate, each step the same factor above the one before."""

    source: ClassVar[str] = "Smith 2017, Cyclical Learning Rates"

    kind: Literal["rise"] = "rise"
    peak: float
    """The recipe's rate, of which multiples are said."""

    def multiplier(self, progress: float) -> float:
        """An exponential from `LOWEST` to `HIGHEST`, over the recipe's rate."""
        return float(LOWEST * (HIGHEST / LOWEST) ** progress / self.peak)


def find_lr(recipe: Recipe, *, device: str = "cpu", watcher: Watcher | None = None) -> RangeTest:
    """Sweep `optimizer.lr` over the recipe's own first steps; other groups keep their ratio to it.

    Nothing that is trained stays, and nothing is written but the cache.

    Raises:
        RunError: the strategy has no rate, or several processes were started.
        DataError, BackboneError: as the run would.
    """
    if recipe.optimizer is None:
        raise RunError(
            f"{recipe.strategy.kind} is fitted in one go and has no learning rate to find.",
            "Choose a strategy that trains the network: `--set strategy.kind=few_layers`, or another recipe.",
        )
    if processes.world_size() > 1:
        raise RunError("--find-lr is a short job for one process.", "Start it without torchrun.")
    watcher = watcher or Watcher()
    setup = set_up(prepare(_uncached(recipe), device=device, watcher=watcher), device=device)
    rates: list[float] = []
    losses: list[float] = []
    with rehearsal(setup) as state:
        rise, seen, total = _Rise(peak=recipe.optimizer.lr), 0, 0.0

        def on_step(progress: Progress) -> None:
            nonlocal seen, total
            tally = state.tally
            losses.append((tally.loss_sum - total) / (tally.images - seen))
            rates.append(recipe.optimizer.lr * rise.multiplier(len(rates) / (STEPS + 1)))  # type: ignore[union-attr]
            seen, total = tally.images, tally.loss_sum
            watcher.on_step(Progress(len(losses), STEPS, losses[-1], progress.images_per_second))

        try:
            take_steps(setup, state, STEPS, on_step=on_step, schedule=rise, enough=lambda: exploded(losses))
            diverged = exploded(losses)
        except NotFinite:
            diverged = True
    return judged(rates, losses, diverged=diverged)


def _uncached(recipe: Recipe) -> Recipe:
    """So few steps do not pay for the frozen part of every image."""
    assert isinstance(recipe.strategy, FineTuning), "it has a rate"
    return recipe.model_copy(update={"strategy": recipe.strategy.model_copy(update={"cached_views": None})})


def judged(rates: Sequence[float], losses: Sequence[float], *, diverged: bool) -> RangeTest:
    """Where the loss falls fastest over the logarithm of the rate, and a tenth of where it is lowest."""
    smooth = smoothed(losses)
    lowest = int(smooth.argmin()) if len(smooth) else 0
    steepest = tenth = None
    if lowest > 1 and smooth[lowest] <= (1 - LEAST_FALL) * smooth[0]:
        slopes = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1]))
        steepest, tenth = rates[int(slopes.argmin())], rates[lowest] / 10
    return RangeTest(tuple(rates), tuple(smooth.tolist()), steepest, tenth, diverged)


def smoothed(losses: Sequence[float]) -> npt.NDArray[np.float64]:
    """Each loss as the mean of its neighbors, weighted with a bell; at the ends over those that there are."""
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / SMOOTHING) ** 2)
    return np.asarray(weights @ np.asarray(losses, float) / weights.sum(axis=1))


def exploded(losses: Sequence[float]) -> bool:
    """Whether the loss is now far above its lowest."""
    if len(losses) < 2:
        return False
    smooth = smoothed(losses)
    return bool(smooth[-1] > EXPLODED * smooth.min())
