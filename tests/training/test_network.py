"""A run trains what its strategy says, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import Record
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.network import Setup, set_up
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

PLAIN = {"ants": 10, "bees": 10}


def begun(recipe: Recipe) -> Setup:
    return set_up(prepare(recipe, device="cpu", watcher=Watcher()), device="cpu")


def moved_stages(setup: Setup) -> list[set[str]]:
    """For each epoch, the stages of which a weight moved, but for the new classifier."""

    def weights() -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in setup.backbone.net.named_parameters()}

    before, moved = weights(), []
    for _ in setup.records(setup.start(), lambda progress: None, lambda: False):
        after = weights()
        changed = {name for name in before if not torch.equal(before[name], after[name])} - {
            "classifier.weight",
            "classifier.bias",
        }
        moved.append({stage.name for stage in setup.backbone.stages if changed & set(stage.parameters)})
        before = after
    return moved


def test_gradual_unfreezing_trains_more_stages_in_every_epoch(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    strategy = "strategy={kind: gradual_unfreezing, stages: 3, stages_per_unfreeze: 2}"
    setup = begun(recipe("gradual_unfreezing", image_folder(PLAIN), strategy, "budget.epochs=3", "optimizer.batch=8"))
    *_, third, second, first, head = (stage.name for stage in setup.backbone.stages)
    assert moved_stages(setup) == [set(), {first, second, head}, {first, second, third, head}]


def test_a_probe_comes_first_and_the_frozen_epochs_leave_the_network_as_it_was(
    image_folder: ImageFolder, recipe: MakeRecipe
) -> None:
    settings = ("strategy.stages=1", "strategy.frozen_epochs=2", "budget.epochs=3", "optimizer.batch=8")
    setup = begun(recipe("probe_then_fine_tune", image_folder(PLAIN), *settings))
    assert setup.backbone.net.get_parameter("classifier.weight").abs().sum() > 0, "the probe's, not zeros"
    *_, last, head = (stage.name for stage in setup.backbone.stages)
    assert moved_stages(setup) == [set(), set(), {last, head}]


def test_from_scratch_learns_on_tiny_images(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> None:
    data = image_folder({"ants": 20, "bees": 20})
    settings = ("budget.epochs=6", "optimizer.batch=8", "preprocessing.size=32", "augmentation=null")
    run = train(recipe("from_scratch", data, *settings), RunDir(tmp_path / "run"))
    history: tuple[Record, ...] = run.load_history()
    assert history[0].train_loss is not None and history[-1].train_loss is not None
    assert history[-1].train_loss < 0.8 * history[0].train_loss
    assert max(record.val_accuracy or 0 for record in history) >= 0.8
