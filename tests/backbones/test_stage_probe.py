"""A stage probe sees exactly what the frozen trunk measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.frozen import FrozenTrunk
from finetune_advisor.backbones.wrappers.stage_probe import StageProbe, stage_probe_of
from finetune_advisor.errors import BackboneError


def test_features_are_those_of_the_trunk(backbone: Backbone, images_BCHW: Tensor) -> None:
    output = FrozenTrunk(backbone, device="cpu")(images_BCHW)
    names = ["pooled", backbone.stages[2].name, "stem"]
    expected_BD = torch.cat([output.pooled, output.stages[names[1]], output.stages["stem"]], dim=1)
    width = expected_BD.shape[1]
    probe = stage_probe_of(backbone, names, torch.eye(4, width), torch.zeros(4))
    with torch.no_grad():
        features_BD = probe.forward_features(images_BCHW)
        logits_BK = probe(images_BCHW)
    # Channels first and channels last round differently, and random nets amplify that.
    assert torch.allclose(features_BD, expected_BD, rtol=1e-3, atol=1e-3)
    assert torch.allclose(logits_BK, expected_BD[:, :4], rtol=1e-3, atol=1e-3)


def test_layers_above_the_deepest_stage_do_not_run(images_BCHW: Tensor) -> None:
    probe = StageProbe("resnet18", ["layer2", "layer1"], num_classes=2, size=32).eval()
    ran = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        probe.backbone.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    probe(images_BCHW)
    assert ran == ["layer1", "layer2"]


def test_can_be_exported(images_BCHW: Tensor) -> None:
    probe = StageProbe("resnet18", ["layer2"], num_classes=2, size=32).eval()
    exported = torch.export.export(probe, (images_BCHW,), strict=False).module()
    assert torch.allclose(exported(images_BCHW), probe(images_BCHW), atol=1e-5)


@pytest.mark.parametrize("stages", [["layer7"], ["head"], []])
def test_unknown_stages_are_answered_with_the_known(stages: list[str]) -> None:
    with pytest.raises(BackboneError) as caught:
        StageProbe("resnet18", stages, num_classes=2, size=32)
    assert caught.value.hint is not None and "layer4, pooled" in caught.value.hint


def test_gradients_are_finite_where_a_channel_is_constant() -> None:
    probe = StageProbe("resnet18", ["layer1"], num_classes=2, size=32).eval()
    probe(torch.zeros(1, 3, 32, 32)).sum().backward()
    gradients = [p.grad for p in probe.parameters() if p.grad is not None]
    assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_a_pooled_probe_is_a_plain_network() -> None:
    backbone = build("resnet18", "random", size=32)
    probe = stage_probe_of(backbone, ["pooled"], torch.ones(2, 512), torch.zeros(2))
    x_BCHW = torch.randn(1, 3, 32, 32)
    pooled_BD = FrozenTrunk(backbone, device="cpu")(x_BCHW).pooled
    with torch.no_grad():
        assert torch.allclose(probe(x_BCHW), pooled_BD.sum(1, keepdim=True).expand(1, 2), rtol=1e-4)
