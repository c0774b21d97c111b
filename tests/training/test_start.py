"""What a network is before its first step.

Shapes: B images, D units, C channels.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from finetune_advisor.errors import RecipeError
from finetune_advisor.records.history import LayerSignal, signal_sentence
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.initialization import Calibrated, Gaussian, He, Initialization, UnitVariance
from finetune_advisor.training.network import set_up
from finetune_advisor.training.plan import plan_run
from finetune_advisor.training.prepare import prepare
from finetune_advisor.training.start import measure_signal, scale_to_unit_variance
from finetune_advisor.training.trainer import train
from finetune_advisor.training.watch import Watcher
from tests.conftest import ImageFolder
from tests.training.conftest import MakeRecipe

LAYERS, UNITS = 30, 256
SPLIT = {"ants": 8, "bees": 8}
SMALL = ("preprocessing.size=32", "budget.epochs=1", "optimizer.batch=4", "augmentation=null")


def plain_net(initialization: Initialization, activation: type[nn.Module]) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        linear = nn.Linear(UNITS, UNITS)
        initialization.fill(linear.weight, linear.bias, generator)
        layers += [linear, activation()]
    return nn.Sequential(*layers)


def images_BD() -> Tensor:  # noqa: N802 - named like the tensor
    return torch.randn(128, UNITS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid], ids=lambda kind: kind.__name__)
def test_scaled_to_the_data_every_one_of_thirty_layers_has_unit_variance(activation: type[nn.Module]) -> None:
    net, x_BD = plain_net(UnitVariance(), activation), images_BD()
    scale_to_unit_variance([layer for layer in net if isinstance(layer, nn.Linear)], lambda: net(x_BD))
    outputs = []
    for layer in net:
        x_BD = layer(x_BD)
        if isinstance(layer, nn.Linear):
            outputs.append(x_BD.var().item())
    assert outputs == pytest.approx([1.0] * LAYERS, rel=1e-3)


def test_its_weights_are_orthogonal_before_they_are_scaled() -> None:
    layer = nn.Linear(12, 8)
    UnitVariance().fill(layer.weight, layer.bias, torch.Generator().manual_seed(0))
    weight_KD = layer.weight.detach()
    torch.testing.assert_close(weight_KD @ weight_KD.T, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("initialization", "per_layer", "word"),
    [
        (He(), 1.0, "gets through"),
        (Calibrated(), 0.5, "vanishes"),
        (Gaussian(std=0.001), UNITS * 0.001**2 / 2, "vanishes"),
        (Gaussian(std=0.2), UNITS * 0.2**2 / 2, "explodes"),
    ],
    ids=repr,
)
def test_the_report_shows_what_the_formula_says(initialization: Initialization, per_layer: float, word: str) -> None:
    """With zero mean and ReLU a layer multiplies the variance of the raw outputs by n Var(w) / 2."""
    net, x_BD = plain_net(initialization, nn.ReLU), images_BD()
    signal = measure_signal(net, lambda: net(x_BD))
    assert [layer.layer for layer in signal] == [str(place) for place in range(0, 2 * LAYERS, 2)]
    assert signal[0].variance == pytest.approx(images_BD().square().mean().item() * 2 * per_layer, rel=0.1)
    deep = 10
    ratio = torch.tensor(signal[deep].variance / signal[0].variance)
    # The variance within a layer is a little below its mean square: its outputs have means of their own.
    assert ratio.log().item() / deep == pytest.approx(torch.tensor(per_layer).log().item(), abs=0.15)
    assert word in signal_sentence(signal[:12])


def test_a_dead_layer_is_left_alone_and_said_to_be_the_end() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    for layer in (net[0], net[2], net[3]):
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    scale_to_unit_variance([net[0], net[2]], lambda: net(torch.randn(8, 4)))  # type: ignore[list-item]
    signal = measure_signal(net, lambda: net(torch.randn(8, 4)))
    assert [layer.variance for layer in signal] == [0.0, 0.0, 0.0]
    assert "vanishes" in signal_sentence(signal)
    assert "gets through" in signal_sentence([LayerSignal("a", 1.0), LayerSignal("b", 2.0), LayerSignal("fc", 0.0)])


@pytest.mark.parametrize("kind", ["he", "calibrated", "gaussian", "uniform", "unit_variance"])
def test_a_run_from_scratch_starts_as_asked_and_keeps_the_report(
    image_folder: ImageFolder, recipe: MakeRecipe, tmp_path: Path, kind: str
) -> None:
    start = f"backbone.initialization={{kind: {kind}}}"
    run = train(recipe("from_scratch", image_folder(SPLIT), *SMALL, start), RunDir(tmp_path / "run"))
    signal = json.loads(run.signal.read_text())
    assert signal[0]["layer"] == "conv_stem" and signal[-1]["layer"] == "classifier"
    assert "signal before training: outputs vary by" in run.log.read_text()
    if kind == "unit_variance":
        assert [layer["variance"] for layer in signal[:5]] == pytest.approx([1.0] * 5, rel=0.5)


def test_the_plan_shows_signal_and_sizes_only_of_random_networks(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    data = image_folder(SPLIT)
    plan = plan_run(recipe("from_scratch", data, *SMALL, "preprocessing.size=40"), device="cpu")
    assert plan.signal[0].layer == "conv_stem" and plan.signal[0].variance > 0
    assert any("images of 40 pixels do not divide evenly" in remark for remark in plan.sizing)


def test_the_start_is_the_same_every_time_and_layers_without_bias_take_part(
    image_folder: ImageFolder, recipe: MakeRecipe
) -> None:
    asked = recipe("from_scratch", image_folder(SPLIT), *SMALL, "backbone.initialization={kind: he}")
    nets = [set_up(prepare(asked, device="cpu", watcher=Watcher()), device="cpu").backbone.net for _ in range(2)]
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)
    weight = nets[0].get_submodule("blocks.2.0.conv_pw").weight
    assert isinstance(weight, Tensor)
    assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1)


def test_a_head_is_scaled_to_the_data_of_a_pretrained_network(image_folder: ImageFolder, recipe: MakeRecipe) -> None:
    head = "head={initialization: {kind: unit_variance, images: 12}, hidden: 6, activation: {kind: relu}}"
    asked = recipe("few_layers", image_folder(SPLIT), *SMALL, head)
    setup = set_up(prepare(asked, device="cpu", watcher=Watcher()), device="cpu")
    net = setup.backbone.net.eval()
    seen: dict[str, float] = {}
    for name in ("hidden", "output"):
        layer = net.get_submodule(f"classifier.{name}")
        layer.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output.var().item()}))
    images = setup.feed.pixels if hasattr(setup.feed, "pixels") else setup.feed
    x_BCHW = torch.cat(list(images.evaluation("train")))
    images.forward(x_BCHW)
    assert list(seen.values()) == pytest.approx([1.0, 1.0], rel=0.05)


@pytest.mark.parametrize(
    ("base", "edits", "says"),
    [
        ("from_scratch", ["backbone.initialization={kind: zeros}"], "no source of asymmetry"),
        ("from_scratch", ["backbone.initialization={kind: probe}"], "can start the head only"),
        ("few_layers", ["backbone.weights=bundled", "backbone.initialization={kind: he}"], "throw the pretrained"),
        ("linear_probe", ["backbone.initialization={kind: he}"], "would be ignored"),
    ],
)
def test_what_a_network_cannot_start_from_is_refused(
    recipe: MakeRecipe, tmp_path: Path, base: str, edits: list[str], says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe(base, tmp_path, *edits)
