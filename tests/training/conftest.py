"""What the tests of training share: recipes for a tiny network with random weights."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Protocol

import pytest

from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.training.watch import Progress, Watcher

TINY = (
    "backbone.name=mobilenetv3_small_050",
    "backbone.weights=random",
    "preprocessing.size=64",
    "runtime.workers=0",
)


class MakeRecipe(Protocol):
    """Makes a recipe for a tiny network; see the fixture `recipe`."""

    def __call__(self, base: str, data: Path, *overrides: str) -> Recipe: ...


@pytest.fixture
def recipe() -> MakeRecipe:
    """A factory: `recipe("few_layers", data, "budget.epochs=2")` is that shipped recipe, for a tiny network."""

    def make(base: str, data: Path, *overrides: str) -> Recipe:
        return load_recipe(base, [f"data.path={data}", *TINY, *overrides])

    return make


class StopAt(Watcher):
    """Presses Ctrl-C, or what `number` says, during a step."""

    def __init__(self, step: int, number: signal.Signals = signal.SIGINT) -> None:
        self.step = step
        self.number = number

    def on_step(self, progress: Progress) -> None:
        if progress.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def stop_at() -> type[StopAt]:
    """`stop_at(3)` is a watcher that presses Ctrl-C during step 3; another signal may be named."""
    return StopAt
