"""Which parameters train, in which group, at which rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune_advisor.backbones.build import Backbone
from finetune_advisor.backbones.stages import classifier_parameters
from finetune_advisor.techniques.optimizer import Optimizer
from finetune_advisor.techniques.strategy import FineTuning


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate: `head` is new, `body` is pretrained; norms and biases take no weight decay."""

    name: str
    parameters: tuple[tuple[str, nn.Parameter], ...]
    lr: float
    decays: bool

    @property
    def size(self) -> int:
        """Number of scalars."""
        return sum(parameter.numel() for _, parameter in self.parameters)

    def for_optimizer(self) -> dict[str, Any]:
        """A torch parameter group; `peak_lr` stays when a schedule moves `lr`."""
        return {
            "params": [parameter for _, parameter in self.parameters],
            "lr": self.lr,
            "peak_lr": self.lr,
            "name": self.name,
            "decays": self.decays,
        }


def trainable_groups(backbone: Backbone, strategy: FineTuning, optimizer: Optimizer) -> tuple[Group, ...]:
    """Freeze everything the strategy does not train and group the rest.

    Raises:
        BackboneError: the strategy counts on more stages than the backbone has.
    """
    trained = set(strategy.trainable([stage.name for stage in backbone.stages]))
    names = {name for stage in backbone.stages if stage.name in trained for name in stage.parameters}
    new = classifier_parameters(backbone.net)
    members: dict[tuple[str, bool], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in backbone.net.named_parameters():
        parameter.requires_grad_(name in names)
        if name in names:
            key = ("head" if name in new else "body", parameter.ndim > 1)
            members.setdefault(key, []).append((name, parameter))
    rates = {"head": optimizer.lr, "body": optimizer.lr * optimizer.body_lr_ratio}
    return tuple(
        Group(part if decays else f"{part}_norm_bias", tuple(members[part, decays]), rates[part], decays)
        for part in ("head", "body")
        for decays in (True, False)
        if (part, decays) in members
    )


def set_training_mode(backbone: Backbone, strategy: FineTuning) -> None:
    """Training mode for the trained stages only; BatchNorm statistics move only if the strategy says so.

    In frozen stages dropout is off and BatchNorm uses the statistics of the pretraining.
    """
    trained = set(strategy.trainable([stage.name for stage in backbone.stages]))
    backbone.net.train()
    for stage in backbone.stages:
        for module in _modules(backbone.net, stage.modules):
            if stage.name not in trained or (strategy.batch_norm == "frozen" and isinstance(module, _BatchNorm)):
                module.eval()


def _modules(net: nn.Module, names: Iterable[str]) -> Iterable[nn.Module]:
    for name in names:
        yield from net.get_submodule(name).modules()
