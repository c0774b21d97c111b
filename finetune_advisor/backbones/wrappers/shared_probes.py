"""Several probes of one frozen network, which is run once for all of them.

Shapes: B batch, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.at_size import default_cfg
from finetune_advisor.backbones.stages import classifier_modules, classifier_parameters
from finetune_advisor.backbones.wrappers.stage_probe import POOLED, StageProbe

SHARED_PROBES = "finetune_advisor_shared_probes"
"""Name under which timm builds `SharedProbes`."""

_LEAST = 1e-12
"""Of a probability, before its logarithm."""


def logits_of(probabilities_BK: Tensor) -> Tensor:
    """Logits (B, K) whose softmax are these probabilities."""
    return probabilities_BK.clamp_min(_LEAST).log()


class SharedProbes(StageProbe):
    """The weighted mean of the probabilities of linear classifiers at different places, as logits.

    `heads` says for each classifier which places it reads, in the order of its features.

    Raises:
        BackboneError: the backbone has no stage of such a name.
    """

    architecture = SHARED_PROBES

    def __init__(
        self,
        backbone: str,
        heads: Sequence[Sequence[str]],
        weights: Sequence[float],
        *,
        num_classes: int,
        size: int,
    ) -> None:
        places = tuple(dict.fromkeys(place for head in heads for place in head))
        super().__init__(backbone, places, num_classes=num_classes, size=size)
        assert len(heads) == len(weights) > 0 and abs(sum(weights) - 1) < 1e-6, weights
        del self.fc
        self.heads = [tuple(head) for head in heads]
        self.weights = tuple(weights)
        with torch.no_grad():
            read = self.read(torch.zeros(1, 3, size, size))
        widths = [sum(read[place].shape[1] for place in head) for head in self.heads]
        self.classifiers = nn.ModuleList(nn.Linear(width, num_classes) for width in widths)
        self.pretrained_cfg = self.default_cfg = default_cfg(SHARED_PROBES)
        self.model_args = {
            "backbone": backbone,
            "heads": [list(head) for head in heads],
            "weights": list(weights),
            "size": size,
        }

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalized images (B, C, H, W)."""
        read = self.read(x_BCHW)
        parts = [
            weight * classifier(torch.cat([read[place] for place in head], dim=1)).softmax(dim=1)
            for head, weight, classifier in zip(self.heads, self.weights, self.classifiers, strict=True)
        ]
        return logits_of(torch.stack(parts).sum(0))


@dataclass(frozen=True)
class _Probe:
    """A linear classifier on a frozen network, whichever way it was saved."""

    backbone: str
    size: int
    places: tuple[str, ...]
    weight_KD: Tensor
    bias_K: Tensor
    trunk: dict[str, Tensor]
    normalization: tuple[Any, Any]


def shared_probes_of(
    models: Sequence[tuple[nn.Module, Mapping[str, Any]]], weights: Sequence[float]
) -> SharedProbes | None:
    """One network for models that are probes of the same frozen one; None where they are not.

    Args:
        models: as `load_model` opens them.
        weights: how much each counts.
    """
    probes = [probe for net, config in models if (probe := _probe(net, config))]
    if len(probes) < len(models) or not all(_same_trunk(probes[0], other) for other in probes[1:]):
        return None
    first = probes[0]
    shared = SharedProbes(
        first.backbone,
        [probe.places for probe in probes],
        weights,
        num_classes=len(first.bias_K),
        size=first.size,
    )
    shared.backbone.load_state_dict(first.trunk)
    with torch.no_grad():
        for classifier, probe in zip(shared.classifiers, probes, strict=True):
            assert isinstance(classifier, nn.Linear)
            classifier.weight.copy_(probe.weight_KD)
            classifier.bias.copy_(probe.bias_K)
    return shared.eval()


def _probe(net: nn.Module, config: Mapping[str, Any]) -> _Probe | None:
    cfg, details = config["pretrained_cfg"], config["finetune_advisor"]
    size, normalization = cfg["input_size"][-1], (list(cfg["mean"]), list(cfg["std"]))
    if isinstance(net, StageProbe) and not isinstance(net, SharedProbes):
        name = str(net.model_args["backbone"])
        trunk = net.backbone.state_dict()
        return _Probe(name, size, net.stages, net.fc.weight, net.fc.bias, trunk, normalization)
    if details.get("strategy") != "linear_probe" or "ensemble" in details:
        return None
    (path,) = classifier_modules(net)
    layer: Any = net.get_submodule(path)
    new = classifier_parameters(net)
    trunk = {name: tensor for name, tensor in net.state_dict().items() if name not in new}
    return _Probe(config["architecture"], size, (POOLED,), layer.weight.flatten(1), layer.bias, trunk, normalization)


def _same_trunk(first: _Probe, other: _Probe) -> bool:
    return (
        (first.backbone, first.size, first.normalization) == (other.backbone, other.size, other.normalization)
        and first.trunk.keys() == other.trunk.keys()
        and all(torch.equal(tensor, other.trunk[name]) for name, tensor in first.trunk.items())
    )
