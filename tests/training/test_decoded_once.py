"""Images decoded once train the same network, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from finetune_advisor.errors import StorageError
from finetune_advisor.images.decode import read_image
from finetune_advisor.loading import augmented
from finetune_advisor.loading import augmented as kept_pixels
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

COUNTS = {"ants": 10, "bees": 10}
SETTINGS = ("strategy={kind: all_layers}", "budget.epochs=3", "optimizer.batch=8", "runtime.workers=0")


@pytest.fixture
def kept(image_folder: ImageFolder, recipe: MakeRecipe) -> Recipe:
    return recipe("all_layers", image_folder(COUNTS), *SETTINGS, "runtime.cache_mib=64")


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training images that were decoded, as often as they were."""
    names: list[str] = []

    def recording(path: Path, **settings: Any) -> Image.Image:
        names.append(str(path))
        return read_image(path, **settings)

    monkeypatch.setattr(augmented, "read_image", recording)
    return names


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run.model / "model.safetensors")
    return found


def same(ours: RunDir, theirs: RunDir) -> bool:
    return all(torch.equal(value, weights(theirs)[name]) for name, value in weights(ours).items())


def test_every_image_is_decoded_once_and_the_weights_are_the_same(
    kept: Recipe, decodings: list[str], tmp_path: Path
) -> None:
    once = train(kept, RunDir(tmp_path / "once"))
    assert len(decodings) == len(set(decodings)) == 16, "those of the training split"
    anew = train(
        kept.model_copy(update={"runtime": kept.runtime.model_copy(update={"cache_mib": None})}),
        RunDir(tmp_path / "anew"),
    )
    assert len(decodings) == 16 + 3 * 16
    assert same(once, anew)
    assert [each.val_loss for each in once.load_history()] == [each.val_loss for each in anew.load_history()]
    assert not once.caches.exists(), "gone with the end of the run"
    assert "decoded once: 20 of 20 images stay decoded" in once.log.read_text()


def test_images_that_find_no_room_are_decoded_anew(
    kept: Recipe, decodings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(kept, RunDir(tmp_path / "whole"))
    decodings.clear()
    keep = kept_pixels.keep
    monkeypatch.setattr(
        "finetune_advisor.training.data_feed.keep",
        lambda path, images, most_mib: keep(path, images, most_mib=most_mib if "val" in path.name else 0.02),
    )
    part = train(kept, RunDir(tmp_path / "part"))
    assert 16 < len(decodings) < 3 * 16 + 16
    assert same(whole, part)


def test_a_full_disk_costs_only_time(
    kept: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise StorageError("no space left on the disk")

    monkeypatch.setattr("finetune_advisor.training.data_feed.keep", full)
    run = train(kept, RunDir(tmp_path / "run"))
    assert run.finished
    assert "decoded images are not kept, every epoch decodes them: no space left" in caplog.text


def test_one_epoch_keeps_nothing(kept: Recipe, tmp_path: Path) -> None:
    assert kept.budget is not None
    short = kept.model_copy(update={"budget": kept.budget.model_copy(update={"epochs": 1})})
    run = train(short, RunDir(tmp_path / "run"))
    assert "decoded once" not in run.log.read_text()
