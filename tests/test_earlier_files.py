"""Recipes, profiles and run folders that version 0.1 wrote keep working: they open, predict, resume and export.

`tests/earlier` was written by that version with the network `test_efficientnet` from random weights: a stage probe, a
fine-tuned network, an ensemble of both, and a run of many layers that was stopped after 8 of 180 steps. `expected`
holds what that version then said of `images/test`.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from finetune_advisor.cli import app
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.ensemble import Ensemble
from finetune_advisor.records.profile import Profile
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.workflows.run import run_and_draw

EARLIER = Path(__file__).parent / "earlier"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of everything, with its paths as if it had been written there."""
    copy = shutil.copytree(EARLIER, tmp_path / "earlier")
    for file in copy.rglob("*"):
        if file.suffix in {".yaml", ".json"} and "HERE" in (text := file.read_text(encoding="utf-8")):
            file.write_text(text.replace("HERE", str(copy)), encoding="utf-8")
    monkeypatch.chdir(copy)
    return copy


def called(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def probabilities(text: str) -> dict[str, list[float]]:
    rows = csv.DictReader(text.splitlines())
    return {row["path"]: [float(row["circles"]), float(row["squares"])] for row in rows}


@pytest.mark.parametrize("run", ["probe", "fine_tuned", "both"])
def test_an_earlier_model_gives_the_same_predictions(folder: Path, run: str) -> None:
    found = probabilities(called("predict", run, "images/test", "-q"))
    expected = probabilities((folder / "expected" / f"{run}.csv").read_text())
    assert found.keys() == expected.keys() and len(found) == 8
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-4)


def test_an_interrupted_run_of_an_earlier_version_is_resumed_to_the_same_network(folder: Path) -> None:
    called("run", "--run-dir", "interrupted", "--resume", "-q")
    run = RunDir(folder / "interrupted")
    assert [record.step for record in run.load_history()][-1] == 180
    found = probabilities(called("predict", "interrupted", "images/test", "-q"))
    expected = probabilities((folder / "expected" / "resumed.csv").read_text())
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-3)


def test_an_earlier_recipe_profile_and_ensemble_are_read(folder: Path) -> None:
    assert Profile.load(folder / "analysis" / "profile.json").images == 56
    assert len(Ensemble.load(folder / "both" / "ensemble.json").members) == 2
    recipe = load_recipe(folder / "recipe.yaml")
    assert recipe.strategy.kind == "stage_probe"
    for run in ("probe", "fine_tuned", "interrupted", "both"):
        assert load_recipe(folder / run / "recipe.yaml").backbone.name == "test_efficientnet"


def test_earlier_runs_are_reported_compared_diagnosed_evaluated_and_exported(folder: Path) -> None:
    assert "probe" in called("compare", "probe", "fine_tuned")
    for run in ("probe", "fine_tuned"):
        called("diagnose", run)
        called("report", run)
        assert (folder / run / "report.html").is_file()
    called("report", "both")
    assert "accuracy" in called("evaluate", "probe", "images/test", "--json")
    called("export", "fine_tuned", "--format", "safetensors", "-o", "exported")


def test_an_earlier_recipe_of_a_run_runs_again(folder: Path) -> None:
    recipe = load_recipe(folder / "fine_tuned" / "recipe.yaml")
    again = run_and_draw(recipe, RunDir(folder / "again")).load_metrics()
    assert again["test"]["images"] == 8
