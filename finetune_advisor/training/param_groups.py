"""Which parameters train, in which group, at which learning rate, with which regularization.

A cost of the classifier's inputs (`FeatureCost`) is no sum over images, but its gradient is one: with the slope of the
cost at the batch's averages, each image adds its readings times that slope. A first pass without gradients finds the
averages, over all parts and processes.

Shapes: B images of a part, D features, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor import processes
from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.stages import HEAD, classifier_parameters, output_layers, read_inputs, weighted_layers
from finetune_advisor.errors import Problem, RecipeError
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.techniques.optimizer import Optimizer
from finetune_advisor.techniques.regularization import FeaturePenalty, Regularization, Weights
from finetune_advisor.techniques.strategy import FineTuning


@dataclass(frozen=True)
class Group:
    """Parameters that share a fate: `head` is new, `body` is pretrained; norms and biases take no weight decay.

    Where pretrained stages differ in rate or epoch, each has its own groups: `body.blocks.5`.
    """

    name: str
    parameters: tuple[tuple[str, nn.Parameter], ...]
    stages: tuple[str, ...]
    lr: float
    decays: bool
    epoch: int
    """Epochs that are done when it begins to train."""
    new: bool
    """Whether it belongs to the new classifier."""

    @property
    def size(self) -> int:
        """Number of scalars."""
        return sum(parameter.numel() for _, parameter in self.parameters)

    def for_optimizer(self) -> dict[str, Any]:
        """A torch parameter group; `peak_lr` stays when a schedule moves `lr`."""
        return {
            "params": [parameter for _, parameter in self.parameters],
            "names": [name for name, _ in self.parameters],
            "lr": self.lr,
            "peak_lr": self.lr,
            "name": self.name,
            "decays": self.decays,
            "new": self.new,
        }


@dataclass(frozen=True)
class _Part:
    """A group before norms and biases are told from what decays."""

    name: str
    parameters: frozenset[str]
    stages: tuple[str, ...]
    lr: float
    epoch: int


def trainable_groups(backbone: Backbone, strategy: FineTuning, optimizer: Optimizer) -> tuple[Group, ...]:
    """Group everything that trains at any time, from the head down, and freeze the rest.

    Raises:
        BackboneError: the strategy counts on more stages than the backbone has.
    """
    parameters = dict(backbone.net.named_parameters())
    undecayed = _undecayed(backbone.net)
    groups = []
    for part in (_head(backbone, optimizer), *_body(backbone, strategy, optimizer)):
        for decays in (True, False):
            members = [n for n in parameters if n in part.parameters and (n not in undecayed) == decays]
            if members:
                name = part.name if decays else f"{part.name}_norm_bias"
                named = tuple((member, parameters[member]) for member in members)
                groups.append(Group(name, named, part.stages, part.lr, decays, part.epoch, part.name == HEAD))
    trained = {name for group in groups for name, _ in group.parameters}
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    return tuple(groups)


def _head(backbone: Backbone, optimizer: Optimizer) -> _Part:
    return _Part(HEAD, classifier_parameters(backbone.net), (backbone.stages[-1].name,), optimizer.lr, 0)


def _body(backbone: Backbone, strategy: FineTuning, optimizer: Optimizer) -> list[_Part]:
    """The pretrained layers, from the top down: one part for all of them if they are alike, else one a stage."""
    epochs = strategy.unfreezing([stage.name for stage in backbone.stages])
    new = classifier_parameters(backbone.net)
    parts = []
    for above, stage in enumerate(reversed(backbone.stages)):
        pretrained = frozenset(stage.parameters) - new
        if stage.name in epochs and pretrained:
            # Pretrained layers beside the classifier train like the stage below them.
            lr = optimizer.body_lr(max(above - 1, 0))
            parts.append(_Part(f"body.{stage.name}", pretrained, (stage.name,), lr, epochs[stage.name]))
    if len({(part.lr, part.epoch) for part in parts}) != 1:
        return parts
    parameters = frozenset[str]().union(*(part.parameters for part in parts))
    stages = tuple(stage for part in reversed(parts) for stage in part.stages)
    return [_Part("body", parameters, stages, parts[0].lr, parts[0].epoch)]


def _undecayed(net: nn.Module) -> frozenset[str]:
    """Norms, biases, and what timm says takes no weight decay, such as position embeddings and class tokens."""
    declared = net.no_weight_decay() if hasattr(net, "no_weight_decay") else ()  # type: ignore[operator]
    plain = (name for name, parameter in net.named_parameters() if parameter.ndim <= 1 or name.endswith(".bias"))
    return frozenset([*declared, *plain])


def set_training_mode(backbone: Backbone, strategy: FineTuning, *, epoch: int) -> None:
    """Make ready for the epoch that begins when `epoch` of them are done: what trains in it, and in which mode.

    Training mode for the stages that train by then; BatchNorm statistics move only if the strategy says so. In frozen
    stages dropout is off and BatchNorm uses the statistics of the pretraining. Their parameters ask for no gradient, so
    that no step, weight decay or momentum reaches them.
    """
    net, new = backbone.net, classifier_parameters(backbone.net)
    epochs = strategy.unfreezing([stage.name for stage in backbone.stages])
    net.train()
    for stage in backbone.stages:
        trains = stage.name in epochs and epochs[stage.name] <= epoch
        for name in stage.parameters:
            net.get_parameter(name).requires_grad_(trains or name in new)
        for module in _modules(net, stage.modules):
            if not trains or (strategy.batch_norm == "frozen" and isinstance(module, _BatchNorm)):
                module.eval()


def _modules(net: nn.Module, names: Iterable[str]) -> Iterator[nn.Module]:
    for name in names:
        yield from net.get_submodule(name).modules()


@dataclass(frozen=True)
class Regularizer:
    """The techniques of a recipe, applied to the groups of an optimizer.

    `starts` holds, by name, what pretrained weights were before training; it follows from the recipe, so a resumed run
    finds it again by building the network anew.
    """

    techniques: Sequence[Regularization] = ()
    starts: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def penalty(self) -> FeaturePenalty | None:
        """The cost of features, of which there is one kind."""
        return next((technique for technique in self.techniques if isinstance(technique, FeaturePenalty)), None)

    def before_step(self, groups: Iterable[dict[str, Any]], *, progress: float) -> None:
        """Between the gradient and the optimizer's step."""
        for group, weights in self._decaying(groups):
            for technique in self.techniques:
                technique.before_step(weights, lr=group["lr"], progress=progress)

    def after_step(self, groups: Iterable[dict[str, Any]]) -> None:
        """After the optimizer's step."""
        for _, weights in self._decaying(groups):
            for technique in self.techniques:
                technique.after_step(weights)

    def _decaying(self, groups: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Weights]]:
        for group in groups if self.techniques else ():
            if group["decays"]:
                named = [(n, p) for n, p in zip(group["names"], group["params"], strict=True) if p.requires_grad]
                names, tensors = [name for name, _ in named], [tensor for _, tensor in named]
                starts = [self.starts[name] for name in names if name in self.starts]
                yield group, Weights(names, tensors, new=group["new"], starts=starts)


def regularizer_of(recipe: Recipe, groups: Sequence[Group]) -> Regularizer:
    """The recipe's regularization, for groups whose pretrained weights are still what they were."""
    techniques, starts = recipe.regularization or (), {}
    if any(technique.needs_starts for technique in techniques):
        starts = {
            name: parameter.detach().clone()
            for group in groups
            if group.decays and not group.new
            for name, parameter in group.parameters
        }
    return Regularizer(techniques, starts)


def check_named_layers(recipe: Recipe, backbone: Backbone, strategy: FineTuning) -> None:
    """Refuse regularization of layers that do not exist or never train.

    Raises:
        RecipeError: names each of them.
    """
    trains = set(strategy.trainable([stage.name for stage in backbone.stages]))
    trained = {name for stage in backbone.stages if stage.name in trains for name in stage.parameters}
    trained |= classifier_parameters(backbone.net)
    every = [name for name, _ in backbone.net.named_parameters()]
    problems = []
    for technique in recipe.regularization or ():
        key = f"regularization.{technique.kind}.layers"
        for layer in technique.named_layers():
            inside = {name for name in every if name.startswith(f"{layer}.")}
            if not inside:
                there = ", ".join(stage.name for stage in backbone.stages[1:-1])
                problems.append(Problem(key, f"{backbone.name} has no layer {layer!r}; its stages are {there}"))
            elif not inside & trained:
                message = f"{layer} is frozen by {strategy.kind}: {technique.kind} would do nothing there; leave it out"
                problems.append(Problem(key, message))
    if problems:
        raise RecipeError(problems)


@contextmanager
def readings(net: nn.Module, technique: FeaturePenalty) -> Iterator[Callable[[], Tensor]]:
    """While the block runs, a function gives the readings (B, D) of the last forward pass.

    Where the classifier is a convolution, the reading of a feature is its mean over the positions. Of a distilled
    network the inputs of both classifiers are read.
    """
    with read_inputs(net, output_layers(net), reduce=_positions_first) as inputs:
        yield lambda: torch.cat([technique.reading(x_BPD).mean(dim=1) for x_BPD in inputs.values()], dim=1)


def features_of(net: nn.Module) -> int:
    """How many are read: D."""
    layers = weighted_layers(net)
    return sum(layers[path].weight.shape[1] for path in output_layers(net))


def slope_at(technique: FeaturePenalty, sum_D: Tensor, images: int) -> Tensor:
    """How fast the cost rises with each feature's average: slope_D, the same in all processes.

    Args:
        technique: the cost.
        sum_D: the readings summed over this process's images.
        images: of the whole batch.
    """
    processes.add_up([sum_D])
    mean_D = (sum_D / images).requires_grad_()
    (slope_D,) = torch.autograd.grad(technique.penalty(mean_D), mean_D)
    return slope_D


@contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Passes inside leave the running statistics of BatchNorm as they are."""
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _positions_first(classifier_input: Tensor) -> Tensor:
    """As (B, P, D) in float32."""
    x = classifier_input.float()
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x.view(len(x), -1, x.shape[-1])
