"""Other activations and a hidden layer: what is replaced, where its parameters belong, and that timm opens it again.

Shapes: B batch, C channels, H and W pixels.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.export import load_model, save_model
from finetune_advisor.backbones.stages import classifier_parameters, output_layers, stages_of
from finetune_advisor.backbones.variant import ACTIVATIONS, VARIANT, Variant
from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.activation import LeakyRelu, Maxout, Prelu, Relu, Rrelu

from .conftest import NETWORKS, SIZE

CONVOLUTIONAL = ("resnet18", "mobilenetv3_small_050", "tf_efficientnet_lite0")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_activation_is_swapped_and_no_gate(name: str) -> None:
    plain = build(name, "random", classes=3, size=SIZE).net
    net = build(name, "random", classes=3, size=SIZE, variant=Variant(LeakyRelu(a=100.0))).net
    before = [type(module) for module in plain.modules() if isinstance(module, ACTIVATIONS)]
    after = [type(module) for module in net.modules() if isinstance(module, ACTIVATIONS)]
    assert len(before) == len(after) > 0 and set(after) == {nn.LeakyReLU}
    gates = (nn.Sigmoid, nn.Hardsigmoid)
    assert [type(m) for m in plain.modules() if isinstance(m, gates)] == [
        type(m) for m in net.modules() if isinstance(m, gates)
    ]
    assert net.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_slopes_belong_to_the_stage_they_stand_in(name: str) -> None:
    plain = build(name, "random", classes=3, size=SIZE)
    swapped = build(name, "random", classes=3, size=SIZE, variant=Variant(Prelu()))
    assert [(stage.name, stage.end) for stage in swapped.stages] == [(stage.name, stage.end) for stage in plain.stages]
    known = set(plain.net.state_dict())
    for stage, before in zip(swapped.stages, plain.stages, strict=True):
        assert known & set(stage.parameters) == set(before.parameters)
    stem = [name for name in swapped.stages[0].parameters if name not in known]
    assert stem, "the first activation has slopes too"
    total = sum(len(stage.parameters) for stage in swapped.stages)
    assert total == len(dict(swapped.net.named_parameters()))


def test_channels_that_are_not_second_take_one_slope_for_all() -> None:
    with pytest.raises(BackboneError, match="channels are not in one place") as caught:
        build("vit_tiny_patch16_224", "random", classes=3, size=SIZE, variant=Variant(Prelu()))
    assert "shared: true" in str(caught.value.hint)
    build("vit_tiny_patch16_224", "random", classes=3, size=SIZE, variant=Variant(Prelu(shared=True)))


@pytest.mark.parametrize("name", [*CONVOLUTIONAL, "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_a_hidden_layer_is_new_and_its_outputs_are_the_classes(name: str) -> None:
    built = build(name, "random", classes=3, size=SIZE, variant=Variant(hidden=7, hidden_activation=Maxout()))
    x_BCHW = torch.randn(2, 3, SIZE, SIZE)
    assert built.net(x_BCHW).shape == (2, 3)
    new = classifier_parameters(built.net)
    for path in output_layers(built.net):
        assert {f"{path}.weight", f"{path}.bias", path.replace("output", "hidden") + ".weight"} <= new
        assert built.net.get_parameter(f"{path}.weight").shape == (3, 7)
        assert built.net.get_parameter(path.replace("output", "hidden") + ".weight").shape[0] == 14
    assert built.stages[-1].name == "head" and new <= set(built.stages[-1].parameters)
    assert stages_of(built.net, (3, SIZE, SIZE)) == built.stages


def test_a_convolution_as_classifier_takes_no_hidden_layer() -> None:
    with pytest.raises(BackboneError, match=r"linear classifier; that of .* is a Conv2d"):
        build("resnetv2_18", "random", classes=3, variant=Variant(None, 7, Relu()))


@pytest.mark.parametrize(
    "variant",
    [Variant(Prelu()), Variant(Rrelu(lower=2.0), 5, Maxout(pieces=3)), Variant(None, 4, Prelu(shared=True))],
    ids=repr,
)
def test_what_timm_opens_again_says_the_same(variant: Variant, tmp_path: Path) -> None:
    built = build("mobilenetv3_small_050", "random", classes=3, size=SIZE, variant=variant)
    save_model(
        built.net,
        tmp_path / "model",
        architecture=VARIANT,
        classes=("ants", "bees", "wasps"),
        preprocessing={
            "input_size": (3, SIZE, SIZE),
            "mean": (0.4, 0.5, 0.6),
            "std": (0.5, 0.5, 0.5),
            "interpolation": "bilinear",
            "crop_pct": 0.9,
            "crop_mode": "center",
        },
        details={},
        model_args={"backbone": "mobilenetv3_small_050", "size": SIZE, **variant.as_arguments()},
    )
    opened, _ = load_model(tmp_path / "model")
    x_BCHW = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(opened(x_BCHW), built.net(x_BCHW))
