"""What the tests of diagnosis share: cases of made-up curves, and a small finished run."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")


def _load_made_up() -> None:
    """Make the module beside this one importable; tests are no package."""
    spec = importlib.util.spec_from_file_location("made_up", Path(__file__).with_name("made_up.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_up"] = module
    spec.loader.exec_module(module)


_load_made_up()


@pytest.fixture
def short_recipe(image_folder) -> Recipe:
    """One epoch of a tiny network."""
    data = image_folder({"ants": 8, "bees": 8})
    settings = [f"data.path={data}", *TINY, "budget.epochs=1", "strategy.cached_views=null", "optimizer.batch=4"]
    return load_recipe("few_layers", settings)


@pytest.fixture
def short_run(short_recipe: Recipe, tmp_path: Path) -> RunDir:
    """The same, finished."""
    return train(short_recipe, RunDir(tmp_path / "run"))
