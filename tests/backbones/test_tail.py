"""Entered at any stage with that stage's output, a network says what it says as a whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.backbones.stages import Stage, read_stages
from finetune_advisor.backbones.tail import Tail
from finetune_advisor.errors import BackboneError


def _tail(backbone: Backbone, boundary: str) -> Tail:
    return Tail(backbone.net, boundary, stages=backbone.stages, input_size=backbone.input_size)


def test_equals_the_whole_net_at_every_boundary(backbone: Backbone, images_BCHW: Tensor) -> None:
    with torch.no_grad(), read_stages(backbone.net, backbone.stages) as readings:
        whole_BK = backbone.net(images_BCHW)
    assert whole_BK.std(0).max() > 1e-4  # the images are told apart, so that equality means something
    for stage in backbone.stages:
        given = readings[stage.name].clone()
        with torch.no_grad():
            tail_BK = _tail(backbone, stage.name)(given)
        assert torch.allclose(tail_BK, whole_BK, atol=1e-5), stage.name
        assert torch.equal(given, readings[stage.name]), f"{stage.name}: the cached tensor was changed in place"


def test_runs_nothing_below_the_boundary(backbone: Backbone, images_BCHW: Tensor) -> None:
    boundary = backbone.stages[len(backbone.stages) // 2]
    below = backbone.stages[: backbone.stages.index(boundary) + 1]
    with torch.no_grad(), read_stages(backbone.net, [boundary]) as readings:
        backbone.net(images_BCHW)
    tail = _tail(backbone, boundary.name)
    layers = [
        module
        for stage in below
        for path in stage.modules
        for module in backbone.net.get_submodule(path).modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    ran: list[nn.Module] = []
    handles = [layer.register_forward_pre_hook(lambda module, _args: ran.append(module)) for layer in layers]
    try:
        with torch.no_grad():
            tail(readings[boundary.name])
    finally:
        for handle in handles:
            handle.remove()
    # A hook on a module whose forward is replaced still fires; only what lies within it must not run.
    replaced = {id(backbone.net.get_submodule(path)) for path in [boundary.end, *_paths(tail)]}
    assert [module for module in ran if id(module) not in replaced] == []


def _paths(tail: Tail) -> list[str]:
    return [call.path for call in tail._replaced]


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_gradients_above_the_boundary_are_those_of_the_whole_net(name: str, images_BCHW: Tensor) -> None:
    whole = build(name, "random", size=32, seed=3)
    boundary = whole.stages[-3]
    whole.net(images_BCHW).square().mean().backward()
    expected = {key: p.grad.clone() for key, p in whole.net.named_parameters() if p.grad is not None}
    whole.net.zero_grad()
    with torch.no_grad(), read_stages(whole.net, [boundary]) as readings:
        whole.net(images_BCHW)
    tail = _tail(whole, boundary.name)
    tail(readings[boundary.name]).square().mean().backward()
    above = [key for stage in whole.stages[-2:] for key in stage.parameters]
    for key in above:
        gradient = whole.net.get_parameter(key).grad
        assert gradient is not None and torch.allclose(gradient, expected[key], atol=1e-6), key
    assert all(whole.net.get_parameter(key).grad is None for stage in whole.stages[1:-2] for key in stage.parameters)


def test_follows_the_net_into_training_mode(images_BCHW: Tensor) -> None:
    backbone = build("resnet18", "random", size=32)
    with torch.no_grad(), read_stages(backbone.net, [backbone.stage("layer2")]) as readings:
        backbone.net(images_BCHW)
    tail = _tail(backbone, "layer2")
    tail.train()
    frozen = backbone.net.get_submodule("layer1.0.bn1").running_mean
    live = backbone.net.get_submodule("layer3.0.bn1").running_mean
    assert isinstance(frozen, Tensor) and isinstance(live, Tensor)
    before = frozen.clone(), live.clone()
    tail(readings["layer2"])
    assert torch.equal(frozen, before[0])
    assert not torch.equal(live, before[1])


def test_the_net_is_whole_again_after_a_failure(images_BCHW: Tensor) -> None:
    backbone = build("resnet18", "random", size=32)
    with torch.no_grad():
        whole_BK = backbone.net(images_BCHW)
    tail = _tail(backbone, "layer2")
    with pytest.raises(RuntimeError):
        tail(torch.ones(2, *tail.boundary_shape, dtype=torch.float64))
    with torch.no_grad():
        assert torch.equal(backbone.net(images_BCHW), whole_BK)


class _Skipping(nn.Module):
    """What lies above the first layer also sees the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 4, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.second(self.first(x_BCHW) + x_BCHW).mean((2, 3))
        return logits_BK


def test_a_net_that_cannot_be_cut_is_refused_instead_of_computing_nonsense() -> None:
    stage = Stage("stem", ("first.weight", "first.bias"), ("first",), "first", "NCHW", 0, None)
    with pytest.raises(BackboneError, match="depends on something below"):
        Tail(_Skipping(), "stem", stages=[stage], input_size=(3, 8, 8))
