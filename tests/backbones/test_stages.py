"""Stages divide every network completely, under names a person can type."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.stages import Stage, classifier_parameters, pool, read_stages, stages_of
from finetune_advisor.errors import BackboneError

NAMES = {
    "resnet18": ["stem", *(f"layer{i}" for i in range(1, 5)), "head"],
    "convnext_atto": ["stem", *(f"stages.{i}" for i in range(4)), "head"],
    "mobilenetv3_small_050": ["stem", *(f"blocks.{i}" for i in range(6)), "head"],
    "vit_tiny_patch16_224": ["stem", *(f"blocks.{i}" for i in range(12)), "head"],
    "swin_tiny_patch4_window7_224": ["stem", *(f"layers.{i}" for i in range(4)), "head"],
    "efficientvit_b0": ["stem", *(f"stages.{i}" for i in range(4)), "head"],
    "mobilevit_xxs": ["stem", *(f"stages.{i}" for i in range(5)), "head"],
    "tf_efficientnet_lite0": ["stem", *(f"blocks.{i}" for i in range(7)), "head"],
}
CHANNELS = {
    "resnet18": [64, 64, 128, 256, 512],
    "convnext_atto": [40, 40, 80, 160, 320],
    "mobilenetv3_small_050": [16, 8, 16, 24, 24, 48, 288],
    "vit_tiny_patch16_224": [192] * 13,
    "swin_tiny_patch4_window7_224": [96, 96, 192, 384, 768],
    "efficientvit_b0": [8, 16, 32, 64, 128],
    "mobilevit_xxs": [16, 16, 24, 48, 64, 320],
    "tf_efficientnet_lite0": [32, 16, 24, 40, 80, 112, 192, 1280],
}


def test_names(backbone: Backbone) -> None:
    assert [stage.name for stage in backbone.stages] == NAMES[backbone.name]


def test_every_parameter_is_in_exactly_one_stage(backbone: Backbone) -> None:
    listed = [name for stage in backbone.stages for name in stage.parameters]
    assert sorted(listed) == sorted(name for name, _ in backbone.net.named_parameters())


def test_modules_hold_only_parameters_of_their_stage(backbone: Backbone) -> None:
    for stage in backbone.stages:
        held = {
            f"{path}.{name}"
            for path in stage.modules
            for name, _ in backbone.net.get_submodule(path).named_parameters()
        }
        assert held <= set(stage.parameters)
        outside_modules = set(stage.parameters) - held
        assert all("." not in name for name in outside_modules)  # such as a transformer's class token


def test_pooled_channels_are_the_networks_channels(backbone: Backbone, images_BCHW: Tensor) -> None:
    body = backbone.stages[:-1]
    with torch.no_grad(), read_stages(backbone.net, body, reduce=pool) as readings:
        backbone.net(images_BCHW)
    assert [readings[stage.name].shape for stage in body] == [(3, 2 * c) for c in CHANNELS[backbone.name]]


def test_new_parameters_are_those_of_the_classifier_only() -> None:
    net = build("mobilenetv3_small_050", "random", size=32).net
    assert classifier_parameters(net) == {"classifier.weight", "classifier.bias"}  # not conv_head


def test_recording_leaves_modes_and_running_statistics_alone() -> None:
    net = build("resnet18", "random", size=32).net.train()
    net.get_submodule("layer1").eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    stages_of(net, (3, 32, 32))
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_stem_of_a_resnet_ends_where_the_next_stage_begins() -> None:
    assert build("resnet18", "random", size=32).stage("stem").end == "maxpool"


def test_a_mistyped_stage_is_answered_with_the_stages_there_are() -> None:
    with pytest.raises(BackboneError, match="layer1, layer2, layer3, layer4, head") as caught:
        build("resnet18", "random", size=32).stage("layer5")
    assert "did you mean 'layer" in caught.value.message


def test_a_network_that_timm_does_not_divide_is_refused() -> None:
    with pytest.raises(BackboneError, match="does not say"):
        stages_of(nn.Sequential(nn.Linear(2, 2)), (3, 8, 8))


@pytest.mark.parametrize(
    ("layout", "order"),
    [("NCHW", (0, 1, 2, 3)), ("NHWC", (0, 2, 3, 1))],
)
def test_pool_agrees_with_numpy_in_every_layout(layout: str, order: tuple[int, ...]) -> None:
    x_BCHW = torch.rand(2, 5, 3, 4)
    pooled_BC = pool(x_BCHW.permute(order), _stage(layout))
    expected = x_BCHW.numpy()
    assert torch.allclose(pooled_BC[:, :5], torch.from_numpy(expected.mean((2, 3))), atol=1e-6)
    assert torch.allclose(pooled_BC[:, 5:], torch.from_numpy(expected.std((2, 3))), atol=1e-6)


def test_pool_leaves_prefix_tokens_out() -> None:
    x_BNC = torch.cat([torch.full((2, 1, 4), 1e6), torch.ones(2, 9, 4)], dim=1)
    pooled_BC = pool(x_BNC, _stage("NLC", prefix_tokens=1))
    assert torch.allclose(pooled_BC, torch.tensor([1.0] * 4 + [0.0] * 4).expand(2, 8), atol=1e-5)


def test_pool_of_half_precision_is_computed_in_float32() -> None:
    x_BCHW = torch.full((1, 2, 200, 200), 10.0, dtype=torch.float16)
    assert torch.allclose(pool(x_BCHW, _stage("NCHW")), torch.tensor([[10.0, 10.0, 0.0, 0.0]]), atol=1e-5)


def _stage(layout: str, prefix_tokens: int = 0) -> Stage:
    return Stage("stem", (), (), "stem", layout, prefix_tokens, None)  # type: ignore[arg-type]
