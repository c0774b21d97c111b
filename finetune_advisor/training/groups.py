"""Which parameters train, in which group, at which rate, from which epoch on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.stages import HEAD, classifier_parameters
from finetune_advisor.techniques.optimizer import Optimizer
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
