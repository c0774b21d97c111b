"""What is frozen stays as it is, what trains does so at its own rate.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.optimizer import Sgd
from finetune_advisor.techniques.strategy import FewLayers, FineTuning, ManyLayers
from finetune_advisor.training.groups import Group, set_training_mode, trainable_groups

NETWORKS = ("mobilenetv3_small_050", "resnet18", "convnext_atto", "vit_tiny_patch16_224")
STRATEGIES = (FewLayers(stages=2), ManyLayers(frozen_stages=2), ManyLayers(frozen_stages=0))
OPTIMIZER = Sgd(lr=0.2, body_lr_ratio=0.05)
SIZE = 64


@pytest.fixture(scope="module", params=NETWORKS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return build(request.param, "random", classes=3, size=SIZE)


@pytest.fixture
def mobilenet() -> Backbone:
    return build("mobilenetv3_small_050", "random", classes=3, size=SIZE)


def noise_BCHW() -> Tensor:  # noqa: N802 - named like the tensor
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def members(groups: tuple[Group, ...]) -> list[str]:
    return [name for group in groups for name, _ in group.parameters]


def trained_stages(backbone: Backbone, strategy: FineTuning) -> tuple[str, ...]:
    return strategy.trainable([stage.name for stage in backbone.stages])


def statistics(backbone: Backbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in backbone.net.named_buffers() if "running" in name}


def boundary_BCHW(backbone: Backbone, stage: str, x_BCHW: Tensor) -> Tensor:  # noqa: N802
    """What a stage returns for these images, whatever mode the network is in."""
    seen = []
    handle = backbone.net.get_submodule(backbone.stage(stage).end).register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach().clone())
    )
    with torch.no_grad():
        backbone.net(x_BCHW)
    handle.remove()
    return seen[0]


def train_a_little(backbone: Backbone, strategy: FineTuning) -> None:
    groups = trainable_groups(backbone, strategy, OPTIMIZER)
    set_training_mode(backbone, strategy)
    optimizer = OPTIMIZER.build([group.for_optimizer() for group in groups])
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(backbone.net(noise_BCHW()), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_every_parameter_is_in_one_group_or_frozen(backbone: Backbone, strategy: FineTuning) -> None:
    names = members(trainable_groups(backbone, strategy, OPTIMIZER))
    frozen = [name for name, parameter in backbone.net.named_parameters() if not parameter.requires_grad]
    assert sorted([*names, *frozen]) == sorted(name for name, _ in backbone.net.named_parameters())
    stages = trained_stages(backbone, strategy)
    assert set(names) == {name for stage in backbone.stages if stage.name in stages for name in stage.parameters}


def test_the_head_is_the_new_classifier_alone(backbone: Backbone) -> None:
    groups = trainable_groups(backbone, FewLayers(stages=2), OPTIMIZER)
    classifier = backbone.net.get_classifier()  # type: ignore[operator]
    new = {id(parameter) for parameter in classifier.parameters()}
    for group in groups:
        assert all((id(parameter) in new) == group.name.startswith("head") for _, parameter in group.parameters)
    assert {group.name for group in groups} == {"head", "head_norm_bias", "body", "body_norm_bias"}


def test_pretrained_layers_train_at_their_share_of_the_rate(backbone: Backbone) -> None:
    for group in trainable_groups(backbone, FewLayers(stages=2), OPTIMIZER):
        expected = 0.2 if group.name.startswith("head") else 0.2 * 0.05
        assert group.lr == pytest.approx(expected)
        assert group.for_optimizer()["peak_lr"] == group.lr


def test_weight_decay_spares_norms_and_biases(backbone: Backbone) -> None:
    groups = trainable_groups(backbone, ManyLayers(frozen_stages=0), OPTIMIZER)
    decays = {name: group.decays for group in groups for name, _ in group.parameters}
    for path, module in backbone.net.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            if isinstance(module, nn.Linear | nn.Conv2d):
                assert decays[full] == (name == "weight"), full
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d | nn.GroupNorm):
                assert not decays[full], full


def test_another_strategy_thaws_what_the_last_one_froze(backbone: Backbone) -> None:
    trainable_groups(backbone, FewLayers(stages=1), OPTIMIZER)
    trainable_groups(backbone, ManyLayers(frozen_stages=0), OPTIMIZER)
    assert all(parameter.requires_grad for parameter in backbone.net.parameters())


def test_more_stages_than_there_are_is_the_users_mistake(backbone: Backbone) -> None:
    with pytest.raises(BackboneError, match=r"strategy\.stages is 99, but this backbone has only \d+") as caught:
        trainable_groups(backbone, FewLayers(stages=99), OPTIMIZER)
    assert "--set strategy.stages=" in str(caught.value.hint)


def test_dropout_and_batchnorm_of_frozen_stages_are_in_evaluation_mode(backbone: Backbone) -> None:
    strategy = FewLayers(stages=1, batch_norm="train")
    set_training_mode(backbone, strategy)
    trained = trained_stages(backbone, strategy)
    for stage in backbone.stages:
        for path in stage.modules:
            modes = {module.training for module in backbone.net.get_submodule(path).modules()}
            assert modes == {stage.name in trained}, path
    assert backbone.net.training, "the dropout before the classifier belongs to no stage"


def test_frozen_statistics_do_not_move(mobilenet: Backbone) -> None:
    before = statistics(mobilenet)
    train_a_little(mobilenet, ManyLayers(frozen_stages=0, batch_norm="frozen"))
    after = statistics(mobilenet)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_trained_statistics_move_in_trained_stages_only(mobilenet: Backbone) -> None:
    strategy = FewLayers(stages=2, batch_norm="train")
    before = statistics(mobilenet)
    train_a_little(mobilenet, strategy)
    moved = {name for name, value in statistics(mobilenet).items() if not torch.equal(value, before[name])}
    paths = [
        path
        for stage in mobilenet.stages
        if stage.name in trained_stages(mobilenet, strategy)
        for path in stage.modules
    ]
    assert moved == {name for name in before if any(name.startswith(f"{path}.") for path in paths)}
    assert 0 < len(moved) < len(before)


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_training_leaves_what_frozen_stages_return(mobilenet: Backbone, batch_norm: str) -> None:
    strategy = FewLayers.model_validate({"stages": 2, "batch_norm": batch_norm})
    trained = trained_stages(mobilenet, strategy)
    frozen = [stage.name for stage in mobilenet.stages if stage.name not in trained]
    before_BCHW = boundary_BCHW(mobilenet, frozen[-1], noise_BCHW())
    after_it_BCHW = boundary_BCHW(mobilenet, trained[-2], noise_BCHW())
    train_a_little(mobilenet, strategy)
    assert torch.equal(boundary_BCHW(mobilenet, frozen[-1], noise_BCHW()), before_BCHW), "in training mode"
    mobilenet.net.eval()
    assert torch.equal(boundary_BCHW(mobilenet, frozen[-1], noise_BCHW()), before_BCHW)
    assert not torch.equal(boundary_BCHW(mobilenet, trained[-2], noise_BCHW()), after_it_BCHW)
