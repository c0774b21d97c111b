"""What is frozen stays as it is, what trains does so at its own rate.

Shapes: B images of a batch, C channels, H and W pixels.
"""

from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from finetune_advisor.backbones.build import Backbone, build
from finetune_advisor.errors import BackboneError
from finetune_advisor.techniques.optimizer import AdamW, Optimizer, Sgd
from finetune_advisor.techniques.regularization import L2, Weights
from finetune_advisor.techniques.strategy import (
    AllLayers,
    FewLayers,
    FineTuning,
    GradualUnfreezing,
    ManyLayers,
    ProbeThenFineTune,
)
from finetune_advisor.training.param_groups import Group, set_training_mode, trainable_groups

NETWORKS = ("mobilenetv3_small_050", "resnet18", "convnext_atto", "vit_tiny_patch16_224")
STRATEGIES = (
    FewLayers(stages=2),
    ManyLayers(frozen_stages=2),
    AllLayers(),
    GradualUnfreezing(stages=3, stages_per_unfreeze=2),
)
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
    seen: list[Tensor] = []
    handle = backbone.net.get_submodule(backbone.stage(stage).end).register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach().clone())
    )
    with torch.no_grad():
        backbone.net(x_BCHW)
    handle.remove()
    return seen[0]


def train_a_little(backbone: Backbone, strategy: FineTuning) -> None:
    groups = trainable_groups(backbone, strategy, OPTIMIZER)
    set_training_mode(backbone, strategy, epoch=0)
    optimizer = OPTIMIZER.build([group.for_optimizer() for group in groups])
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(backbone.net(noise_BCHW()), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


def moved_in_epoch(backbone: Backbone, strategy: FineTuning, optimizer: torch.optim.Optimizer, epoch: int) -> set[str]:
    """Train one step as in that epoch, hard enough to move everything; names of the parameters that moved."""
    before = {name: parameter.detach().clone() for name, parameter in backbone.net.named_parameters()}
    set_training_mode(backbone, strategy, epoch=epoch)
    nn.functional.cross_entropy(backbone.net(noise_BCHW()), torch.tensor([0, 1, 2, 0])).backward()
    for group in optimizer.param_groups:
        L2(strength=0.1).before_step(Weights(group["names"], group["params"]), lr=group["lr"], progress=0.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name for name, parameter in backbone.net.named_parameters() if not torch.equal(parameter, before[name])}


@pytest.fixture(scope="module", params=NETWORKS[:3])
def lasting(request: pytest.FixtureRequest) -> Backbone:
    """A network of its own, for tests that change weights."""
    return build(request.param, "random", classes=3, size=SIZE)


@pytest.mark.parametrize(
    "strategy",
    [GradualUnfreezing(stages=3, stages_per_unfreeze=2), ProbeThenFineTune(stages=2, frozen_epochs=1)],
    ids=repr,
)
@pytest.mark.parametrize("optimizer", [AdamW(lr=0.01), Sgd(lr=0.01)], ids=lambda optimizer: optimizer.kind)
def test_what_is_still_frozen_gets_no_step_no_decay_and_no_momentum(
    lasting: Backbone, strategy: FineTuning, optimizer: Optimizer
) -> None:
    groups = trainable_groups(lasting, strategy, optimizer)
    built = optimizer.build([group.for_optimizer() for group in groups])
    parameters = dict(lasting.net.named_parameters())
    classifier = {id(parameter) for parameter in lasting.net.get_classifier().parameters()}  # type: ignore[operator]
    new = {name for name, parameter in parameters.items() if id(parameter) in classifier}
    epochs = strategy.unfreezing([stage.name for stage in lasting.stages])
    for epoch in range(strategy.fewest_epochs + 1):
        moved = moved_in_epoch(lasting, strategy, built, epoch)
        assert new <= moved
        for stage in lasting.stages:
            pretrained = set(stage.parameters) - new
            open_yet = stage.name in epochs and epochs[stage.name] <= epoch
            assert bool(pretrained & moved) == (open_yet and bool(pretrained)), (epoch, stage.name)
            assert all((parameters[name] in built.state) == open_yet for name in pretrained), (epoch, stage.name)


def test_stages_that_join_at_different_epochs_are_groups_of_their_own_named_by_their_stage(backbone: Backbone) -> None:
    groups = trainable_groups(backbone, GradualUnfreezing(), OPTIMIZER)
    epochs = GradualUnfreezing().unfreezing([stage.name for stage in backbone.stages])
    for group in groups:
        if not group.name.startswith("head"):
            assert group.name.removesuffix("_norm_bias") == f"body.{group.stages[0]}"
            assert (group.epoch, len(group.stages)) == (epochs[group.stages[0]], 1)
    assert {group.epoch for group in groups if group.name.startswith("head")} == {0}


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_each_stage_below_the_top_one_is_slower_by_layer_decay(backbone: Backbone, decay: float) -> None:
    optimizer = Sgd(lr=0.2, body_lr_ratio=0.05, layer_decay=decay)
    groups = trainable_groups(backbone, AllLayers(), optimizer)
    *pretrained, head = (stage.name for stage in backbone.stages)
    expected = {head: 0.01} | {name: 0.01 * decay**depth for depth, name in enumerate(reversed(pretrained))}
    found = {group.stages[0]: group.lr for group in groups if not group.name.startswith("head")}
    assert set(pretrained) <= set(found) <= set(expected)
    assert found == pytest.approx({name: expected[name] for name in found})
    assert {group.lr for group in groups if group.name.startswith("head")} == {0.2}


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


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_weight_decay_spares_what_timm_spares(name: str) -> None:
    """Layer scales, position embeddings and class tokens among it."""
    backbone = build(name, "random", classes=3)
    net = backbone.net
    spared = {
        id(parameter)
        for group in param_groups_weight_decay(net, no_weight_decay_list=getattr(net, "no_weight_decay", set)())
        if group["weight_decay"] == 0
        for parameter in group["params"]
    }
    expected = {name for name, parameter in net.named_parameters() if id(parameter) in spared}
    groups = trainable_groups(backbone, AllLayers(), OPTIMIZER)
    assert {member for group in groups if not group.decays for member, _ in group.parameters} == expected


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
    set_training_mode(backbone, strategy, epoch=0)
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
