"""What can be known before the images are read is told before; what a run was given is what it goes on with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from finetune_advisor.analysis.analyze import analyze
from finetune_advisor.backbones.build import build
from finetune_advisor.errors import (
    BackboneError,
    FinetuneAdvisorError,
    Interrupted,
    RecipeError,
    StorageError,
    WeightsError,
)
from finetune_advisor.images.split import load_splits, split
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.plan import plan_run
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

PLAIN = {"ants": 8, "bees": 8}
SHORT = ("budget.epochs=2", "optimizer.batch=8")


@pytest.fixture
def images_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_advisor.dataset.measure", lambda *_, **__: pytest.fail("the images were read"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


MISTAKES: list[tuple[tuple[str, ...], type[FinetuneAdvisorError], str]] = [
    (("linear_probe", "backbone.weights=hub"), WeightsError, "HF_HUB_OFFLINE is set"),
    (("linear_probe", "backbone.weights=gone.pth"), WeightsError, "does not exist"),
    (("linear_probe", "backbone.name=resnot18"), BackboneError, "'resnot18'"),
    (("linear_probe", "backbone.name=levit_128s", "preprocessing.size=65"), BackboneError, "65 x 65"),
    (("stage_probe", "strategy.stages=[blocks.33]"), BackboneError, "did you mean 'blocks.3'"),
    (("few_layers", "strategy.stages=33"), BackboneError, "only 7 pretrained stages"),
    (("many_layers", "strategy.frozen_stages=33"), BackboneError, "only 7 pretrained stages"),
    (("gradual_unfreezing", "strategy.stages=33", "budget.epochs=99"), BackboneError, "only 7 pretrained stages"),
    (("probe_then_fine_tune", "strategy.stages=33"), BackboneError, "only 7 pretrained stages"),
    (
        ("gradual_unfreezing", "budget.epochs=4"),
        RecipeError,
        "unfreezes stem after epoch 4, but training ends after epoch 4; set it to at least 5",
    ),
]


@pytest.mark.parametrize("verb", ["train", "plan"])
@pytest.mark.parametrize(("settings", "error", "says"), MISTAKES, ids=[" ".join(each[0]) for each in MISTAKES])
def test_a_mistake_about_the_network_is_told_before_any_image_is_read(
    images_are_not_read: None,
    image_folder: ImageFolder,
    recipe: MakeRecipe,
    tmp_path: Path,
    verb: str,
    settings: tuple[str, ...],
    error: type[FinetuneAdvisorError],
    says: str,
) -> None:
    chosen = recipe(settings[0], image_folder(PLAIN), *settings[1:])
    with pytest.raises(error, match=says):
        train(chosen, RunDir(tmp_path / "run")) if verb == "train" else plan_run(chosen, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"weights": "hub", "backbone": "mobilenetv3_small_050"}, WeightsError),
        ({"backbone": "mobilenetv3_small_050"}, WeightsError),
        ({"weights": "gone.pth"}, WeightsError),
        ({"backbone": "resnot18"}, BackboneError),
        ({"backbone": "levit_128s", "weights": "random", "size": 65}, BackboneError),
    ],
)
def test_analyze_tells_it_before_too(
    images_are_not_read: None,
    image_folder: ImageFolder,
    settings: dict[str, Any],
    error: type[FinetuneAdvisorError],
) -> None:
    with pytest.raises(error):
        analyze(image_folder(PLAIN), **settings)


def test_a_place_that_cannot_be_written_is_told_before_too(
    images_are_not_read: None, image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="expected a folder"):
        train(recipe("linear_probe", image_folder(PLAIN)), RunDir(tmp_path / "file" / "run"))


def test_a_run_with_its_own_weights_file_goes_on_from_anywhere(
    image_folder: ImageFolder,
    recipe: MakeRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: type[StopAt],
) -> None:
    """The saved recipe names the file absolutely, and moving it does not make it another network."""
    torch.manual_seed(0)
    save_file(build("mobilenetv3_small_050", "random", size=64).net.state_dict(), tmp_path / "own.safetensors")
    monkeypatch.chdir(tmp_path)
    chosen = recipe("few_layers", image_folder(PLAIN), *SHORT, "backbone.weights=own.safetensors")
    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(chosen, run, watcher=stop_at(2))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    saved = load_recipe(run.recipe)
    assert saved.backbone.weights == str(tmp_path / "own.safetensors")
    (tmp_path / "own.safetensors").rename(tmp_path / "moved.safetensors")
    run.recipe.write_text(run.recipe.read_text().replace("own.safetensors", "moved.safetensors"))
    assert train(load_recipe(run.recipe), run, resume=True).finished
    again = train(saved.model_copy(update={"backbone": load_recipe(run.recipe).backbone}), RunDir(tmp_path / "again"))
    assert (again.model / "model.safetensors").read_bytes() == (run.model / "model.safetensors").read_bytes()


def test_a_resumed_run_uses_the_saved_split_not_a_new_draw(
    image_folder: ImageFolder,
    recipe: MakeRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: type[StopAt],
) -> None:
    run = RunDir(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(recipe("few_layers", image_folder(PLAIN), *SHORT), run, watcher=stop_at(2))
    before = run.splits.read_text()
    validation = {name for name, (_, split) in load_splits(run.splits).items() if split == "val"}

    def other_draw(listing: Any, *, seed: int, **settings: Any) -> Any:
        return split(listing, seed=seed + 1, **settings)

    monkeypatch.setattr("finetune_advisor.dataset.split", other_draw)
    train(load_recipe(run.recipe), run, resume=True)
    with run.predictions.open(newline="") as stream:
        assert {row["path"] for row in csv.DictReader(stream)} == validation
    assert run.splits.read_text() == before


def test_the_environment_names_the_device_and_the_threads(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = train(recipe("linear_probe", image_folder(PLAIN)), RunDir(tmp_path / "run"))
    device = json.loads(run.environment.read_text())["device"]
    assert device["kind"] == "cpu"
    assert device["name"]
    assert device["torch_threads"] == torch.get_num_threads()


def test_a_recipe_without_a_scale_warns_of_images_that_the_scale_of_their_type_shows_black(
    recipe: MakeRecipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(5):
            values = rng.integers(0, 1024, (40, 40), np.uint16)
            Image.fromarray(values).save(tmp_path / "data" / name / f"{number}.png")
    said = "measured: --set preprocessing.value_range=[0,1023]"
    for place, settings in ((tmp_path / "null", ()), (tmp_path / "set", ("preprocessing.value_range=[0,1023]",))):
        caplog.clear()
        train(recipe("linear_probe", tmp_path / "data", *settings), RunDir(place))
        assert (said in caplog.text) == (not settings)
