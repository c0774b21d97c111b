"""The contact sheet of a recipe's augmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import change_recipe, load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.reporting import gallery as contact_sheet
from finetune_advisor.training.network import set_up
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.watch import Watcher
from finetune_advisor.workflows import run as module
from finetune_advisor.workflows.run import preview

ImageFolder = Callable[..., Path]


def recipe_of(data: Path, augmentation: str) -> Recipe:
    settings = (f"data.path={data}", "preprocessing.size=64", "runtime.workers=0", f"augmentation={augmentation}")
    return load_recipe("few_layers", settings)


def test_it_shows_training_images_of_every_class_and_passes_over_what_cannot_be_read(
    image_folder: ImageFolder, tmp_path: Path
) -> None:
    data = image_folder({"train/ants": 3, "train/bees": 3, "test/ants": 2, "test/bees": 2})
    (data / "train" / "ants" / "000.png").write_bytes(b"no image")
    recipe = recipe_of(data, "[{kind: rotation}, {kind: random_crop}]")
    sheet = tmp_path / "sheet.png"
    names = preview(recipe, sheet, images=4, epochs=2)
    assert [Path(name).parts[0] for name in names] == ["train"] * 4
    assert sorted(Path(name).parts[1] for name in names) == ["ants", "ants", "bees", "bees"]
    with Image.open(sheet) as image:
        assert min(image.size) > 300


def test_its_pictures_are_those_of_training(
    image_folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch by epoch what the batches hold, so that looking at it says something."""
    data = image_folder({"train/ants": 2, "train/bees": 2, "val/ants": 1, "val/bees": 1})
    recipe = recipe_of(data, "[{kind: random_crop}, {kind: shearing}]")
    shown: list[contact_sheet.Row] = []
    monkeypatch.setattr(module, "draw_contact_sheet", lambda rows, path, title: shown.extend(rows))
    names = preview(recipe, tmp_path / "sheet.png", images=4, epochs=2)
    plain = change_recipe(recipe, {"strategy.cached_views": None})
    setup = set_up(prepare(plain, device="cpu", watcher=Watcher()), device="cpu")
    for batch in setup.feed.batches(0, 2):
        for pixels_CHW, name in zip(batch.inputs, batch.names, strict=True):
            drawn = np.asarray(shown[names.index(name)].drawn[batch.epoch])
            assert np.array_equal(drawn.transpose(2, 0, 1), pixels_CHW.numpy())


def test_a_recipe_without_augmentation_is_told_so(image_folder: ImageFolder, tmp_path: Path) -> None:
    data = image_folder({"ants": 2, "bees": 2})
    with pytest.raises(RecipeError, match="as they are"):
        preview(load_recipe("linear_probe", [f"data.path={data}"]), tmp_path / "sheet.png")
