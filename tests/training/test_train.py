"""A run writes everything the contract promises, or nothing where something is wrong from the start."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.errors import BackboneError, DataError, FinetuneAdvisorError, RunError
from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe
from finetune_advisor.training.trainer import train
from finetune_advisor.workflows.run import run_and_draw
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

PLAIN = {"ants": 10, "bees": 10}
SPLIT = {"train/ants": 8, "train/bees": 8, "test/ants": 3, "test/bees": 2}

ALWAYS = {
    "recipe.yaml",
    "splits.csv",
    "training_images.safetensors",
    "history.jsonl",
    "metrics.json",
    "diagnosis.json",
    "report.html",
    "predictions.csv",
    "held_out.csv",
    "environment.json",
    "run.log",
    "model/model.safetensors",
    "model/config.json",
}
TRAINING = {"checkpoints/last.safetensors", "checkpoints/best.safetensors", "signal.json"}

SHORT = ("budget.epochs=2", "optimizer.batch=8")

STRATEGIES = [
    ("linear_probe",),
    ("stage_probe",),
    ("stage_probe", "strategy.stages=[blocks.1, blocks.3]"),
    ("stage_probe", "strategy.stages=[stem, pooled]"),
    ("few_layers", *SHORT),
    ("many_layers", *SHORT),
    ("all_layers", *SHORT),
    ("from_scratch", *SHORT),
    ("gradual_unfreezing", *SHORT, "strategy.stages_per_unfreeze=7"),
    ("probe_then_fine_tune", *SHORT, "strategy.frozen_epochs=1"),
]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def metrics_of(run: RunDir) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(run.metrics.read_text())
    return loaded


@pytest.mark.parametrize("settings", STRATEGIES, ids=" ".join)
def test_every_strategy_leaves_the_complete_run_folder(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    data = image_folder(SPLIT)
    chosen = recipe(settings[0], data, *settings[1:])
    run = run_and_draw(chosen, RunDir(tmp_path / "run"))

    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    figures = {name for name in files if name.startswith("figures/")}
    assert files - figures == ALWAYS | (TRAINING if chosen.strategy.trains_network else set())
    assert {f"figures/{name}" for name in ("confusion.svg", "loss.svg", "reliability.svg")} <= figures
    assert load_recipe(run.recipe) == chosen, "the saved recipe runs again as it is"
    check_splits(run, data)
    check_metrics(run, chosen)
    check_predictions(run)
    records = run.load_history()
    strategy = chosen.strategy
    assert len(records) == (len(strategy.strengths) if isinstance(strategy, LinearProbe | StageProbe) else 2)
    assert "finished in" in run.log.read_text()
    assert json.loads(run.environment.read_text())


def check_splits(run: RunDir, data: Path) -> None:
    rows = rows_of(run.splits)
    assert {row["path"] for row in rows} == {str(path.relative_to(data)) for path in data.rglob("*.png")}
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)
    assert {row["split"] for row in rows if row["path"].startswith("test/")} == {"test"}
    assert {row["split"] for row in rows if row["path"].startswith("train/")} == {"train", "val"}


def check_metrics(run: RunDir, chosen: Recipe) -> None:
    metrics = metrics_of(run)
    assert metrics.keys() == {"val", "test", "val_is", "recipe", "name", "classes", "bad_files", "seconds"}
    assert metrics["recipe"] == chosen.strategy.kind
    assert metrics["classes"] == ["ants", "bees"]
    trains = chosen.strategy.trains_network
    assert metrics["val_is"] == ("held out" if trains else "out of fold")
    assert metrics["val"]["images"] == (4 if trains else 16)
    test = metrics["test"]
    assert test["images"] == 5
    assert {name: scores["images"] for name, scores in test["per_class"].items()} == {"ants": 3, "bees": 2}
    low, high = test["accuracy_ci95"]
    assert 0 <= low <= test["accuracy"] <= high <= 1
    assert metrics["seconds"]["total"] >= metrics["seconds"]["training"] > 0


def check_predictions(run: RunDir) -> None:
    rows, test = rows_of(run.predictions), metrics_of(run)["test"]
    assert [row["path"] for row in rows] == [row["path"] for row in rows_of(run.splits) if row["split"] == "test"]
    assert np.mean([row["label"] == row["prediction"] for row in rows]) == pytest.approx(test["accuracy"])
    counts = [
        [sum((row["label"], row["prediction"]) == (label, given) for row in rows) for given in ("ants", "bees")]
        for label in ("ants", "bees")
    ]
    assert counts == test["confusion"]
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows), "of two classes the larger"


def test_without_a_test_split_the_predictions_are_the_validations(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = train(recipe("few_layers", image_folder(PLAIN), *SHORT), RunDir(tmp_path / "run"))
    assert metrics_of(run)["test"] is None
    validation = {row["path"] for row in rows_of(run.splits) if row["split"] == "val"}
    assert {row["path"] for row in rows_of(run.predictions)} == validation
    assert len(validation) == metrics_of(run)["val"]["images"] == 4


@pytest.mark.parametrize("strategy", ["linear_probe", "stage_probe"])
def test_a_probe_learns_what_can_be_learned(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, strategy: str
) -> None:
    metrics = metrics_of(train(recipe(strategy, image_folder(SPLIT)), RunDir(tmp_path / "run")))
    assert metrics["test"]["accuracy"] == 1
    assert metrics["val"]["accuracy"] >= 15 / 16


def test_a_probes_validation_is_out_of_fold(recipe: MakeRecipe, tmp_path: Path) -> None:
    """On labels that mean nothing the classifier knows its own images by heart, and scores chance on others."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "noise" / ("heads" if number % 2 else "tails")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    run = train(recipe("stage_probe", tmp_path / "noise", "strategy.strengths=[1.0e-6]"), RunDir(tmp_path / "run"))
    rows = rows_of(run.predictions)
    probabilities_NK = Predictor.open(run).probabilities([tmp_path / "noise" / row["path"] for row in rows], workers=0)
    names = np.array(["heads", "tails"])[probabilities_NK.argmax(axis=1)]
    assert np.mean(names == [row["label"] for row in rows]) > 0.95, "of the images it was fitted on"
    assert abs(metrics_of(run)["val"]["accuracy"] - 0.5) < 0.2
    assert len(rows) == metrics_of(run)["val"]["images"] == 40


def test_a_full_folder_is_left_alone(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> None:
    chosen = recipe("linear_probe", image_folder(PLAIN))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.txt").write_text("years of work")
    with pytest.raises(RunError, match="is not empty and is not a run"):
        train(chosen, RunDir(tmp_path / "thesis"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["draft.txt"]
    run = train(chosen, RunDir(tmp_path / "run"))
    with pytest.raises(RunError, match="already holds a run"):
        train(chosen, run)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        (("stage_probe", "strategy.stages=[blocks.33]"), BackboneError, "did you mean 'blocks.3'"),
        (("few_layers", "strategy.stages=33"), BackboneError, "has only 7 pretrained stages"),
        (("many_layers", "strategy.frozen_stages=33"), BackboneError, "has only 7 pretrained stages"),
        (("linear_probe", "backbone.name=resnot18"), BackboneError, "'resnot18'"),
        (("linear_probe", "backbone.weights=none.safetensors"), BackboneError, "none.safetensors does not exist"),
        (("few_layers", "data.path=/nowhere"), DataError, "no folder /nowhere"),
    ],
)
def test_a_mistake_found_before_training_leaves_nothing_behind(
    image_folder: ImageFolder,
    recipe: MakeRecipe,
    tmp_path: Path,
    settings: tuple[str, ...],
    error: type[FinetuneAdvisorError],
    says: str,
) -> None:
    chosen = recipe(settings[0], image_folder(PLAIN), *settings[1:])
    with pytest.raises(error, match=says) as caught:
        train(chosen, RunDir(tmp_path / "run"))
    assert caught.value.hint
    assert not (tmp_path / "run").exists()


def test_a_bad_image_is_named_counted_and_left_out(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder(PLAIN)
    (data / "ants" / "000.png").write_bytes(b"")
    reason = "the file is empty"
    for base, *settings in (("linear_probe",), ("few_layers", *SHORT)):
        run = train(recipe(base, data, *settings), RunDir(tmp_path / base))
        assert metrics_of(run)["bad_files"] == {"ants/000.png": reason}
        assert f"left out: ants/000.png: {reason}" in run.log.read_text()
        assert len(rows_of(run.splits)) == 19


def test_the_log_ends_with_the_run(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> None:
    package = logging.getLogger("finetune_advisor")
    before = (list(package.handlers), package.level)
    train(recipe("linear_probe", image_folder(PLAIN)), RunDir(tmp_path / "run"))
    assert (package.handlers, package.level) == before
