"""What the tests of diagnosis share: a small finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")


@pytest.fixture
def short_recipe(image_folder: ImageFolder) -> Recipe:
    """One epoch of a tiny network."""
    data = image_folder({"ants": 8, "bees": 8})
    settings = [f"data.path={data}", *TINY, "budget.epochs=1", "strategy.cached_views=null", "optimizer.batch=4"]
    return load_recipe("few_layers", settings)


@pytest.fixture
def short_run(short_recipe: Recipe, tmp_path: Path) -> RunDir:
    """The same, finished."""
    return train(short_recipe, RunDir(tmp_path / "run"))
