"""Runs whose network has other activations or a hidden head.

Shapes: N images, K classes.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor.inference.predictor import Predictor
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.catalog import families, kind_of
from finetune_advisor.training.network import set_up
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

SPLIT = {"train/ants": 6, "train/bees": 6, "test/ants": 3, "test/bees": 2}
SHORT = ("preprocessing.size=32", "budget.epochs=1", "optimizer.batch=4")
HEADS = [
    f"head={{initialization: {{kind: he}}, hidden: 6, activation: {{kind: {kind_of(technique)}}}}}"
    for technique in families()["activation"]
]


def assert_opens_as_scored(run: RunDir, data: Any) -> None:
    with run.predictions.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    predictor = Predictor.open(run)
    probabilities_NK = predictor.probabilities([data / row["path"] for row in rows], workers=0)
    assert probabilities_NK.max(axis=1) == pytest.approx([float(row["probability"]) for row in rows], abs=1e-3)


@pytest.mark.parametrize("head", HEADS)
def test_a_hidden_head_trains_and_its_model_opens(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, head: str
) -> None:
    data = image_folder(SPLIT)
    run = train(recipe("few_layers", data, *SHORT, head), RunDir(tmp_path / "run"))
    assert_opens_as_scored(run, data)
    assert ("sigmoid saturates" in run.log.read_text()) == ("sigmoid" in head)


@pytest.mark.parametrize("activation", ["{kind: prelu}", "{kind: rrelu}", "{kind: leaky_relu, a: 100}", "{kind: tanh}"])
def test_a_swapped_backbone_trains_above_its_cached_part_and_opens(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, activation: str
) -> None:
    data = image_folder(SPLIT)
    settings = (f"backbone.activation={activation}", "head.initialization={kind: he}", "strategy.cached_views=4")
    asked = recipe("few_layers", data, *SHORT, *settings)
    run = train(asked, RunDir(tmp_path / "run"))
    assert "cached: the output of" in run.log.read_text()
    assert_opens_as_scored(run, data)


def test_after_a_swap_the_statistics_are_those_of_the_training_images(
    image_folder: ImageFolder, recipe: MakeRecipe
) -> None:
    asked = recipe(
        "many_layers",
        image_folder(SPLIT),
        *SHORT,
        "backbone.activation={kind: leaky_relu}",
        "strategy.cached_views=null",
        "augmentation=null",
        "optimizer.batch=20",
    )
    setup = set_up(prepare(asked, device="cpu", watcher=Watcher()), device="cpu")
    net = setup.backbone.net
    inputs = [layer for layer in net.modules() if isinstance(layer, _BatchNorm)]
    seen: dict[int, torch.Tensor] = {}
    for layer in inputs:
        layer.register_forward_pre_hook(lambda module, args: seen.update({id(module): args[0].detach()}))
    net.eval()
    for layer in inputs:  # with the batch's own statistics, as when they were measured
        layer.train()
        layer.momentum = 0.0
    with torch.no_grad():
        setup.feed.forward(next(iter(setup.feed.batches(0, 1))).inputs)
    for layer in inputs:
        assert layer.running_mean is not None and layer.running_mean.abs().max() > 0
        torch.testing.assert_close(layer.running_mean, seen[id(layer)].mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
