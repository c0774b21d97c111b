"""What the new classifier starts from, when it starts from a linear probe.

Shapes: N images, D features, K classes.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from finetune_advisor.errors import DataError, Interrupted
from finetune_advisor.features.extract import instrument, measure
from finetune_advisor.images.split import load_splits
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

SPLITS = {"train/ants": 14, "train/bees": 10, "val/ants": 6, "val/bees": 5}
STRENGTH = 0.001
START = ("head.initialization={kind: probe, strengths: [0.001]}", "optimizer.batch=8")
STANDSTILL = (*START, "budget={steps: 1}", "optimizer.lr=1e-12")


def answers(run: RunDir) -> dict[str, float]:
    """Image -> probability of ants."""
    with run.predictions.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        r["path"]: float(r["probability"]) if r["prediction"] == "ants" else 1 - float(r["probability"]) for r in rows
    }


def test_without_training_the_network_is_the_probe_of_its_training_images(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder(SPLITS)
    chosen = recipe("few_layers", data, *STANDSTILL)
    run = train(chosen, RunDir(tmp_path / "run"))
    seen = instrument(chosen.backbone.name, chosen.backbone.weights, chosen.preprocessing, seed=chosen.seed)
    paths = {part: sorted((data / part).glob("*/*.png")) for part in ("train", "val")}
    train_ND, val_ND = (
        measure(paths[part], [seen], device="cpu", workers=0).features[0].stage("pooled").astype(np.float64)
        for part in ("train", "val")
    )
    mean_D, deviation_D = train_ND.mean(0), train_ND.std(0)
    scale_D = np.where(deviation_D > 1e-6 * np.abs(train_ND).max(0), deviation_D * train_ND.shape[1] ** 0.5, np.inf)
    # Two rows of softmax, each half the one row of scikit-learn, have half its squared norm.
    model = LogisticRegression(C=2 / (len(train_ND) * STRENGTH), tol=1e-10, max_iter=10_000)
    model.fit((train_ND - mean_D) / scale_D, [path.parent.name for path in paths["train"]])
    expected_N = model.predict_proba((val_ND - mean_D) / scale_D)[:, 0]
    found = answers(run)
    assert [found[str(path.relative_to(data))] for path in paths["val"]] == pytest.approx(expected_N, abs=2e-3)


def test_validation_images_have_no_part_in_the_start(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Other labels for them change nothing."""
    data = image_folder(SPLITS)
    honest = train(recipe("few_layers", data, *STANDSTILL), RunDir(tmp_path / "honest"))
    swap(data / "val")
    swapped = train(recipe("few_layers", data, *STANDSTILL), RunDir(tmp_path / "swapped"))
    ours, theirs = ((run.model / "model.safetensors").read_bytes() for run in (honest, swapped))
    assert ours == theirs
    assert honest.load_metrics()["val"]["accuracy"] != swapped.load_metrics()["val"]["accuracy"]


def swap(folder: Path) -> None:
    (folder / "ants").rename(folder / "other")
    (folder / "bees").rename(folder / "ants")
    (folder / "other").rename(folder / "bees")


@pytest.mark.parametrize("step", [1, 4])
def test_an_interrupted_run_resumes_to_the_same_bits(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, step: int, stop_at: type[StopAt]
) -> None:
    chosen = recipe("few_layers", image_folder({"ants": 10, "bees": 10}), *START, "budget.epochs=3")
    whole = train(chosen, RunDir(tmp_path / "whole"))
    run = RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(chosen, run, watcher=stop_at(step))
    train(load_recipe(run.recipe), run, resume=True)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_a_run_resumed_before_its_first_checkpoint_starts_from_the_saved_split(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    data = image_folder({"ants": 10, "bees": 10})
    chosen = recipe("few_layers", data, *START, "budget.epochs=2")
    whole = train(chosen, RunDir(tmp_path / "whole"))
    run = RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(chosen, run, watcher=stop_at(1))
    run.last.unlink()
    assert train(load_recipe(run.recipe), run, resume=True).finished
    assert load_splits(run.splits) == load_splits(whole.splits)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_balanced_classes_weigh_in_the_start_as_in_the_loss(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder({"train/ants": 24, "train/bees": 4, "val/ants": 4, "val/bees": 4})
    heavy = ("head.initialization={kind: probe, strengths: [1.0]}",)
    plain = train(recipe("few_layers", data, *STANDSTILL, *heavy), RunDir(tmp_path / "plain"))
    even = train(
        recipe("few_layers", data, *STANDSTILL, *heavy, "data.class_weights=balanced"), RunDir(tmp_path / "even")
    )
    assert np.mean(list(answers(plain).values())) > 0.7
    assert np.mean(list(answers(even).values())) == pytest.approx(0.5, abs=0.1)


def test_training_images_of_a_single_group_have_no_folds_to_choose_on(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    folder = image_folder({"ants": 8, "bees": 8})
    rows = [
        f"{path.relative_to(folder)},{path.parent.name},{site}"
        for name in ("ants", "bees")
        for path, site in zip(sorted((folder / name).iterdir()), ["north"] * 5 + ["south"] * 3, strict=True)
    ]
    manifest = folder / "images.csv"
    manifest.write_text("\n".join(["path,label,group", *rows]) + "\n")
    with pytest.raises(DataError, match=r"training images in .* are relatives of each other"):
        train(recipe("few_layers", manifest, *STANDSTILL, "data.group=group"), RunDir(tmp_path / "run"))
