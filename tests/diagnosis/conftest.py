"""What the tests of diagnosis share: cases of made-up curves, and a small finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.artifacts.recipe_file import load_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.training.train import train

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")


@pytest.fixture
def short_run(image_folder, tmp_path: Path) -> RunDir:
    """One epoch of a tiny network."""
    data = image_folder({"ants": 8, "bees": 8})
    settings = [f"data.path={data}", *TINY, "budget.epochs=1", "strategy.cached_views=null", "optimizer.batch=4"]
    return train(load_recipe("few_layers", settings), RunDir(tmp_path / "run"))
