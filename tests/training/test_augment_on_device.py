"""Runs whose images the training device changes: they train, repeat, resume and are cached as the others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.artifacts.recipe_file import load_recipe
from finetune_advisor.artifacts.rundir import RunDir
from finetune_advisor.data import augmented
from finetune_advisor.errors import Interrupted, RunError
from finetune_advisor.training.train import train

IMAGES = {"train/ants": 9, "train/bees": 9, "test/ants": 2, "test/bees": 2}
SETTINGS = (
    "strategy={kind: all_layers, batch_norm: train}",
    "runtime.augment_on=device",
    "augmentation=[{kind: horizontal_flip}, {kind: rotation}, {kind: lens_distortion}, {kind: random_crop}, "
    "{kind: color_jitter}, {kind: fancy_pca}, {kind: random_erasing, probability: 0.5}]",
    "optimizer.batch=6",
    "optimizer.micro_batch=4",
    "budget.epochs=3",
)
"""14 training images are 3 steps an epoch, the last of two images."""


@pytest.fixture
def on_device(image_folder, recipe) -> Recipe:
    made: Recipe = recipe("all_layers", image_folder(IMAGES), *SETTINGS)
    return made


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run.model / "model.safetensors")
    return found


def losses(run: RunDir) -> list[float]:
    return [loss for record in run.load_history() if (loss := record.train_loss) is not None]


def assert_same_run(ours: RunDir, theirs: RunDir) -> None:
    assert losses(ours) == losses(theirs)
    assert all(torch.equal(value, weights(theirs)[name]) for name, value in weights(ours).items())


def changed(recipe: Recipe, **runtime: object) -> Recipe:
    return recipe.model_copy(update={"runtime": recipe.runtime.model_copy(update=runtime)})


def test_an_interrupted_run_resumes_to_the_same_bits_also_with_other_workers_and_without_a_cache(
    on_device: Recipe, tmp_path: Path, stop_at: Any
) -> None:
    whole, run = train(on_device, RunDir(tmp_path / "whole")), RunDir(tmp_path / "stopped")
    assert "decoded once: 18 of 18 images stay decoded" in whole.log.read_text()
    with pytest.raises(Interrupted):
        train(changed(on_device, workers=2), run, watcher=stop_at(4))
    assert_same_run(train(load_recipe(run.recipe), run, resume=True), whole)
    assert_same_run(train(changed(on_device, cache_mib=None), RunDir(tmp_path / "anew")), whole)


def test_images_are_decoded_once_and_kept_as_they_lie_on_the_canvas(
    on_device: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    read = augmented.read_image
    monkeypatch.setattr(
        augmented, "read_image", lambda path, **settings: (names.append(str(path)), read(path, **settings))[1]
    )
    train(on_device, RunDir(tmp_path / "run"))
    assert len(names) == len(set(names)) == 14


def test_cached_views_are_made_by_the_device_too(image_folder, recipe, tmp_path: Path) -> None:
    """That they are the pictures of the batches is tested where both are made."""
    settings = ("runtime.augment_on=device", "budget.epochs=2", "optimizer.batch=6", "strategy.cached_views=2")
    run = train(recipe("few_layers", image_folder(IMAGES), *settings), RunDir(tmp_path / "run"))
    assert "cached: the output of" in run.log.read_text() and "2 views of" in run.log.read_text()
    assert len(losses(run)) == 2


def test_a_run_cannot_go_on_with_the_other_pictures(on_device: Recipe, tmp_path: Path, stop_at: Any) -> None:
    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(on_device, run, watcher=stop_at(2))
    run.recipe.write_text(run.recipe.read_text().replace("augment_on: device", "augment_on: cpu"))
    with pytest.raises(RunError, match=r"runtime\.augment_on was device and is cpu"):
        train(load_recipe(run.recipe), run, resume=True)


def test_statistics_are_measured_on_the_pictures_of_the_device(image_folder, recipe, tmp_path: Path) -> None:
    """Swapped activations and averages of weights read training batches outside of the steps."""
    settings = ("backbone.activation={kind: leaky_relu}", "averaging={kind: swa, start: 0.3}", "mixing={kind: cutmix}")
    run = train(recipe("all_layers", image_folder(IMAGES), *SETTINGS, *settings), RunDir(tmp_path / "run"))
    assert run.finished and len(losses(run)) == 3
