"""What never learns is computed once, and training cannot tell, or says that it cannot be done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from finetune_advisor.errors import Interrupted
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.plan import plan_run
from finetune_advisor.training.trainer import train
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe, StopAt

IMAGES = {"train/ants": 9, "train/bees": 9, "test/ants": 2, "test/bees": 2}
SHORT = ("budget.epochs=2", "optimizer.batch=6")
PLAIN = "strategy.cached_views=null"
KEPT = "strategy.cached_views=4"


def losses(run: RunDir) -> list[float]:
    return [
        value for record in run.load_history() for value in (record.train_loss, record.val_loss) if value is not None
    ]


@pytest.mark.parametrize(
    ("name", "stages"), [("mobilenetv3_small_050", 2), ("vit_tiny_patch16_224", 2), ("convnext_atto", 1)]
)
def test_unaugmented_it_trains_as_without_a_cache(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, name: str, stages: int
) -> None:
    settings = (*SHORT, f"backbone.name={name}", f"strategy.stages={stages}", "augmentation=null")
    data = image_folder(IMAGES)
    cached, plain = (
        train(recipe("few_layers", data, *settings, *more), RunDir(tmp_path / str(len(more))))
        for more in ((KEPT,), (KEPT, PLAIN))
    )
    assert "cached: the output of" in cached.log.read_text() and "1 view of" in cached.log.read_text()
    assert "cached:" not in plain.log.read_text()
    assert len(losses(plain)) == 4
    assert losses(cached) == pytest.approx(losses(plain), abs=1e-4), "dropout of the head included"


def test_with_a_view_for_each_epoch_the_same_pixels_are_seen_and_with_fewer_the_first_come_again(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path
) -> None:
    data = image_folder(IMAGES)
    cached, few, plain = (
        losses(
            train(recipe("few_layers", data, *SHORT, f"strategy.cached_views={views}"), RunDir(tmp_path / str(views)))
        )
        for views in (9, 1, "null")
    )
    assert cached == pytest.approx(plain, abs=5e-3), "but for the rounding to half precision"
    assert few[:2] == pytest.approx(cached[:2], abs=1e-6), "the first epoch sees the first view"
    assert few[2] != pytest.approx(cached[2], abs=1e-6), "the second sees it again"


@pytest.fixture
def lively(image_folder: ImageFolder, recipe: MakeRecipe) -> Recipe:
    """Dropout and views differ between the epochs, so that a resumed run that went wrong would show."""
    dropout = "regularization=[{kind: dropout, rate: 0.5}]"
    return recipe("many_layers", image_folder(IMAGES), *SHORT, "strategy.cached_views=2", dropout)


def test_a_resumed_run_finds_its_cache_or_makes_it_again_to_the_same_bits(
    lively: Recipe, tmp_path: Path, stop_at: type[StopAt]
) -> None:
    whole = train(lively, RunDir(tmp_path / "whole"))
    for harm in (None, Path.unlink, _cut_short):
        run = RunDir(tmp_path / (harm.__name__ if harm else "none"))
        with pytest.raises(Interrupted):
            train(lively, run, watcher=stop_at(2))
        files = sorted(run.caches.iterdir())
        assert [path.name.partition("-")[0] for path in files] == ["train", "val"]
        before = [path.stat().st_mtime_ns for path in files]
        if harm:
            harm(files[0])
        with pytest.raises(Interrupted):
            train(load_recipe(run.recipe), run, resume=True, watcher=stop_at(3))
        after = [path.stat().st_mtime_ns for path in files]
        assert (after[0] == before[0]) == (harm is None) and after[1] == before[1]
        train(load_recipe(run.recipe), run, resume=True)
        assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
        assert not run.caches.exists(), "a finished run keeps none"


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_a_full_disk_costs_speed_and_is_said(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = image_folder(IMAGES)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    full = train(recipe("few_layers", data, *SHORT, KEPT), RunDir(tmp_path / "full"))
    said = full.log.read_text()
    assert "not cached" in said and "the disk is full" in said
    assert losses(full) == losses(train(recipe("few_layers", data, *SHORT, PLAIN), RunDir(tmp_path / "plain")))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("few_layers", KEPT), "the output of blocks.2, 2 views of 14 training images and one of 4 validation images"),
        (("few_layers",), "nothing (strategy.cached_views is null)"),
        (("many_layers", KEPT, "strategy.frozen_stages=0"), "nothing (every stage trains"),
        (
            ("many_layers", KEPT, "strategy.frozen_stages=1", "preprocessing.size=256", "runtime.cache_mib=1"),
            "allows 1",
        ),
    ],
)
def test_the_plan_says_what_is_cached_or_why_nothing_is(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, settings: tuple[str, ...], says: str
) -> None:
    base, *more = settings
    plan = plan_run(recipe(base, image_folder(IMAGES), *SHORT, *more), device="cpu")
    assert says in plan.cached
    assert plan.seconds is not None and plan.seconds > 0
