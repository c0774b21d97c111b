"""Every run ends with its page; what cannot be had any more is left out of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.workflows.report import write_run_page
from finetune_advisor.workflows.run import run_and_draw
from tests.conftest import ImageFolder

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")


@pytest.fixture
def run(image_folder: ImageFolder, tmp_path: Path) -> RunDir:
    data = image_folder({"train/ants": 8, "train/bees": 8, "test/ants": 3, "test/bees": 3})
    settings = [f"data.path={data}", *TINY, "budget.epochs=2", "strategy.cached_views=null", "optimizer.batch=4"]
    return run_and_draw(load_recipe("few_layers", settings), RunDir(tmp_path / "run"))


def test_the_page_follows_the_folder(run: RunDir) -> None:
    page = run.report.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") >= 8, "an image and its overlay for each answer shown"
    assert 'alt="The filters of the first layer' in page and "6 images" in page
    assert (run.figures / "updates.svg").is_file() and (run.figures / "least_sure.png").is_file()
    shutil.rmtree(run.path.parent / "images")
    run.environment.unlink()
    run.profile.unlink(missing_ok=True)
    page = write_run_page(run).read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page and "environment.json is missing" in page
    shutil.rmtree(run.model)
    assert "First-layer filters" not in write_run_page(run).read_text(encoding="utf-8")
    run.predictions.unlink()
    with pytest.raises(RunError, match=r"predictions\.csv is missing"):
        write_run_page(run)
    run.metrics.unlink()
    with pytest.raises(RunError, match="holds no finished run"):
        write_run_page(run)
