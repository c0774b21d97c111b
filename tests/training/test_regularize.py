"""Regularization inside the loop: the same gradient however a batch is divided, and after a stop.

Shapes: B images of a batch, D features, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune_advisor.backbones.build import build
from finetune_advisor.errors import BackboneError, Interrupted, RecipeError
from finetune_advisor.loading.batches import Batch
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.loss import CrossEntropy
from finetune_advisor.techniques.regularization import KlSparsity, MaxNorm
from finetune_advisor.techniques.schedule import Constant
from finetune_advisor.training.loop import Method, compute_gradients
from finetune_advisor.training.param_groups import Regularizer
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.state import TrainState
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

SPARSITY = KlSparsity(strength=0.5, target=0.1)
METHOD = Method(
    loss=CrossEntropy(),
    schedule=Constant(),
    averaging=None,
    regularizer=Regularizer((SPARSITY,)),
    clip=None,
    class_weight_K=None,
    seed=0,
    steps=4,
    steps_per_epoch=100,
    micro_batch=100,
    precision=torch.float32,
    device=torch.device("cpu"),
)


class Net(nn.Module):
    """A hidden layer, BatchNorm, and a classifier that is named as timm does."""

    default_cfg: ClassVar = {"classifier": "fc"}

    def __init__(self, convolution: bool = False) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 2)
        self.norm = nn.BatchNorm2d(5)
        self.convolution = convolution
        self.fc = nn.Conv2d(5, 3, 1) if convolution else nn.Linear(5, 3)

    def features(self, x_BCHW: Tensor) -> Tensor:
        features_BCHW: Tensor = self.norm(self.body(x_BCHW))
        return features_BCHW.relu()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.features(x_BCHW)
        logits: Tensor = self.fc(x_BCHW if self.convolution else x_BCHW.mean(dim=(2, 3)))
        return logits.mean(dim=(2, 3)) if self.convolution else logits


def gradients(net: Net, method: Method) -> dict[str, Tensor]:
    x_BCHW, labels_B = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    batch = Batch(0, 0, x_BCHW, labels_B, tuple("abcdef"), 6)
    net.zero_grad()
    compute_gradients(TrainState(net, torch.optim.SGD(net.parameters())), method, batch, forward=net, stop=False)
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("convolution", [False, True], ids=["linear", "convolution"])
def test_the_cost_of_features_has_the_gradient_of_the_textbook_however_the_batch_is_divided(convolution: bool) -> None:
    torch.manual_seed(0)
    net = Net(convolution).eval()  # statistics of a part would differ from those of the batch
    whole = gradients(net, METHOD)
    parts = gradients(net, replace(METHOD, micro_batch=4))
    x_BCHW, labels_B = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    net.zero_grad()
    features = net.features(x_BCHW) if convolution else net.features(x_BCHW).mean(dim=(2, 3))
    mean_D = (1 - (-features).exp()).transpose(0, 1).flatten(1).mean(dim=1)
    t = torch.tensor(0.1)
    divergence = (t * (t / mean_D).log() + (1 - t) * ((1 - t) / (1 - mean_D)).log()).sum()
    (nn.functional.cross_entropy(net(x_BCHW), labels_B) + 0.5 * divergence).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(whole[name], parameter.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(parts[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_looking_at_the_features_leaves_the_statistics_of_one_pass() -> None:
    torch.manual_seed(0)
    net, plain = Net(), Net()
    plain.load_state_dict(net.state_dict())
    gradients(net, METHOD)
    gradients(plain, replace(METHOD, regularizer=Regularizer()))
    torch.testing.assert_close(net.norm.running_mean, plain.norm.running_mean)
    torch.testing.assert_close(net.norm.running_var, plain.norm.running_var)
    assert net.norm.momentum == 0.1


def test_what_is_frozen_keeps_its_norm() -> None:
    weights = [nn.Parameter(torch.full((2, 4), 3.0)) for _ in range(2)]
    weights[0].requires_grad_(False)
    groups = [{"params": weights, "names": ["a.weight", "b.weight"], "decays": True, "new": False, "lr": 0.1}]
    Regularizer((MaxNorm(limit=1.0, layers="all"),)).after_step(groups)
    assert weights[0].norm(dim=1).tolist() == [6.0, 6.0]
    assert weights[1].norm(dim=1).tolist() == pytest.approx([1.0, 1.0])


EVERYTHING = (
    "regularization=[{kind: l2_sp, strength: 0.5, new_strength: 0.1}, {kind: l1, strength: 0.01, start: 0.5}, "
    "{kind: max_norm, limit: 0.05}, {kind: dropout, rate: 0.5}, {kind: stochastic_depth, rate: 0.3}, "
    "{kind: kl_sparsity, strength: 0.1}]"
)


@pytest.fixture
def pretrained(image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path) -> Recipe:
    """A tiny network from a file of weights, with every kind of regularization."""
    save_file(build("mobilenetv3_small_050", "random", seed=3).net.state_dict(), tmp_path / "weights.safetensors")
    return recipe(
        "many_layers",
        image_folder({"ants": 10, "bees": 10}),
        "budget.epochs=2",
        "optimizer.batch=6",
        "optimizer.lr=0.02",
        "preprocessing.size=32",
        f"backbone.weights={tmp_path / 'weights.safetensors'}",
        "strategy.cached_views=null",
        EVERYTHING,
    )


def test_a_resumed_run_pulls_toward_the_same_start(pretrained: Recipe, tmp_path: Path, stop_at: Any) -> None:
    whole = train(pretrained, RunDir(tmp_path / "whole"))
    run = RunDir(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        train(pretrained, run, watcher=stop_at(4))
    train(load_recipe(run.recipe), run, resume=True)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    weight_KD = load_file(run.model / "model.safetensors")["classifier.weight"]
    assert weight_KD.norm(dim=1).max() <= 0.05001


@pytest.mark.parametrize(
    ("layers", "says"),
    [("[conv_stem]", "conv_stem is frozen by few_layers"), ("[blocks.77]", "has no layer 'blocks.77'; its stages")],
)
def test_max_norm_on_layers_that_never_train_is_refused(
    image_folder: ImageFolder, recipe: MakeRecipe, layers: str, says: str
) -> None:
    technique = f"regularization=[{{kind: max_norm, layers: {layers}}}]"
    asked = recipe("few_layers", image_folder({"ants": 4, "bees": 4}), technique)
    with pytest.raises(RecipeError, match=says):
        prepare(asked, device="cpu", watcher=Watcher())


@pytest.mark.parametrize("name", ["vgg11", "densenet121"])
def test_stochastic_depth_needs_branches_to_leave_out(name: str) -> None:
    with pytest.raises(BackboneError, match="no residual branches"):
        build(name, "random", classes=2, drop_path_rate=0.1)
