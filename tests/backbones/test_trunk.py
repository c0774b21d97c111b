"""One forward pass gives what separate, straightforward computations give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.frozen import FrozenTrunk, reference_norms
from finetune_advisor.backbones.stages import pool, read_stages


def test_pooled_is_what_timm_calls_pre_logits(backbone: Backbone, images_BCHW: Tensor) -> None:
    output = FrozenTrunk(backbone, device="cpu")(images_BCHW)
    with torch.no_grad():
        features = backbone.net.forward_features(images_BCHW)  # type: ignore[operator]
        expected = backbone.net.forward_head(features, pre_logits=True)  # type: ignore[operator]
    assert torch.allclose(output.pooled, expected, atol=1e-4)
    assert list(output.stages) == [stage.name for stage in backbone.stages if stage.name != "head"]


def test_statistics_are_those_of_the_stage_outputs(images_BCHW: Tensor) -> None:
    backbone = build("tf_efficientnet_lite0", "bundled", size=32)
    output = FrozenTrunk(backbone, device="cpu", norm_statistics=True)(images_BCHW)
    with torch.no_grad(), read_stages(backbone.net, backbone.stages) as readings:
        logits_BK = backbone.net(images_BCHW)
    for name, statistics_BC in output.stages.items():
        assert torch.allclose(statistics_BC, pool(readings[name], backbone.stage(name)), atol=1e-5)
    assert output.logits is not None and torch.allclose(output.logits, logits_BK, atol=1e-4)


def test_norm_statistics_are_the_input_of_the_last_norm_of_each_stage(images_BCHW: Tensor) -> None:
    backbone = build("resnet18", "random", size=32)
    output = FrozenTrunk(backbone, device="cpu", norm_statistics=True)(images_BCHW)
    conv = backbone.net.get_submodule("conv1")
    with torch.no_grad():
        x_BCHW = conv(images_BCHW)
    expected = torch.cat([x_BCHW.mean((2, 3)), x_BCHW.var((2, 3), correction=0)], dim=1)
    assert torch.allclose(output.norms["stem"], expected, atol=1e-5)
    assert list(output.norms) == ["stem", "layer1", "layer2", "layer3", "layer4"]


def test_reference_is_what_the_norms_remember_of_their_training() -> None:
    backbone = build("tf_efficientnet_lite0", "bundled", size=32)
    reference = reference_norms(backbone)
    assert list(reference) == ["stem", *(f"blocks.{i}" for i in range(7))]
    mean_C, variance_C = reference["blocks.6"]
    assert torch.equal(mean_C, backbone.net.get_buffer("bn2.running_mean"))
    assert torch.equal(variance_C, backbone.net.get_buffer("bn2.running_var"))


def test_a_network_without_batch_norm_has_no_reference() -> None:
    backbone = build("vit_tiny_patch16_224", "random", size=32)
    assert reference_norms(backbone) == {}
    assert FrozenTrunk(backbone, device="cpu", norm_statistics=True)(torch.zeros(1, 3, 32, 32)).norms == {}


@pytest.mark.parametrize(("weights", "classes"), [("random", None), ("bundled", 3)])
def test_an_untrained_classifier_has_nothing_to_say(weights: str, classes: int | None) -> None:
    backbone = build("tf_efficientnet_lite0", weights, size=32, classes=classes)
    assert FrozenTrunk(backbone, device="cpu")(torch.zeros(1, 3, 32, 32)).logits is None


def test_reads_a_net_in_training_mode_without_changing_it(images_BCHW: Tensor) -> None:
    backbone = build("resnet18", "random", size=32)
    backbone.net.train()
    before = backbone.net.get_buffer("bn1.running_mean").clone()
    trunk = FrozenTrunk(backbone, device="cpu")
    assert torch.equal(trunk(images_BCHW).pooled[:1], trunk(images_BCHW).pooled[:1])
    assert torch.equal(backbone.net.get_buffer("bn1.running_mean"), before)
