"""Several networks as one network that timm can open.

timm has no shape for them, so `import finetune_advisor` registers them.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune_advisor.backbones.at_size import default_cfg
from finetune_advisor.backbones.export import load_model
from finetune_advisor.backbones.wrappers.shared_probes import SharedProbes, logits_of, shared_probes_of

ENSEMBLE = "finetune_advisor_ensemble"
LOOKS = "finetune_advisor_looks"

_ScaleShift = tuple[list[float], list[float]]

Member = Mapping[str, Any]
"""What builds a network: timm's `architecture`, its `model_args`, and its `pretrained_cfg`."""


class Ensemble(nn.Module):
    """The weighted mean of its members' probabilities, as logits: their softmax is the mean.

    `mean` and `std` are the normalization of the images it gets; a member that was trained with another one gets it.
    """

    architecture = ENSEMBLE

    def __init__(
        self,
        members: Sequence[Member],
        weights: Sequence[float],
        mean: Sequence[float],
        std: Sequence[float],
        *,
        num_classes: int,
    ) -> None:
        super().__init__()
        assert len(members) == len(weights) > 0 and abs(sum(weights) - 1) < 1e-6, weights
        self.members = nn.ModuleList(_built(member, num_classes) for member in members)
        self.weights = tuple(weights)
        self.num_classes = num_classes
        self.num_features = sum(net.num_features for net in self.members)  # type: ignore[misc]
        self.pretrained_cfg = self.default_cfg = default_cfg(ENSEMBLE)
        self.model_args = {
            "members": [dict(member) for member in members],
            "weights": list(weights),
            "mean": list(mean),
            "std": list(std),
        }
        self._own = tuple(_renormalization(member, mean, std) for member in members)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalized images (B, C, H, W)."""
        mean_BK: Tensor | None = None
        for net, weight, own in zip(self.members, self.weights, self._own, strict=True):
            part_BK = weight * net(_renormalized(x_BCHW, own)).float().softmax(dim=1)
            mean_BK = part_BK if mean_BK is None else mean_BK + part_BK
        assert mean_BK is not None
        return logits_of(mean_BK)


class ManyLooks(nn.Module):
    """The mean of one network's probabilities for several square parts of an image, as logits; version 0.1 made such.

    Each of `looks` is (top, left, side, mirrored), in pixels of the image this network gets; a part larger than `size`
    is scaled down to it.
    """

    architecture = LOOKS

    def __init__(
        self, member: Member, looks: Sequence[tuple[int, int, int, bool]], size: int, *, num_classes: int
    ) -> None:
        super().__init__()
        self.net = _built(member, num_classes)
        self.looks = [tuple(look) for look in looks]
        self.size = size
        self.num_classes, self.num_features = num_classes, self.net.num_features
        self.pretrained_cfg = self.default_cfg = default_cfg(LOOKS)
        self.model_args = {"member": dict(member), "looks": [list(look) for look in looks], "size": size}

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalized images (B, C, H, W) that hold all looks."""
        sum_BK: Tensor | None = None
        for top, left, side, mirrored in self.looks:
            part_BK = self.net(self._seen(x_BCHW, top, left, side, bool(mirrored))).float().softmax(dim=1)
            sum_BK = part_BK if sum_BK is None else sum_BK + part_BK
        assert sum_BK is not None
        return logits_of(sum_BK / len(self.looks))

    def _seen(self, x_BCHW: Tensor, top: int, left: int, side: int, mirrored: bool) -> Tensor:
        part_BCHW = x_BCHW[:, :, top : top + side, left : left + side]
        if side != self.size:
            part_BCHW = functional.interpolate(part_BCHW, (self.size, self.size), mode="bilinear", align_corners=False)
        return part_BCHW.flip(3) if mirrored else part_BCHW


def ensemble_of(folders: Sequence[Path], weights: Sequence[float]) -> Ensemble | SharedProbes:
    """The ensemble of models that `save_model` wrote, with the normalization of the first.

    Probes of the same frozen network become one that is run once.

    Raises:
        RunError: a model is missing or damaged.
    """
    opened = [load_model(folder) for folder in folders]
    shared = shared_probes_of(opened, weights)
    if shared is not None:
        return shared
    first = opened[0][1]
    own = first["pretrained_cfg"]
    members = [_member(config) for _, config in opened]
    ensemble = Ensemble(members, weights, own["mean"], own["std"], num_classes=first["num_classes"])
    for empty, (net, _) in zip(ensemble.members, opened, strict=True):
        empty.load_state_dict(net.state_dict())
    return ensemble.eval()


def _member(config: Mapping[str, Any]) -> Member:
    return {
        "architecture": config["architecture"],
        "model_args": config["model_args"],
        "pretrained_cfg": config["pretrained_cfg"],
    }


def _built(member: Member, num_classes: int) -> nn.Module:
    arguments = {**member["model_args"], "num_classes": num_classes}
    return timm.create_model(member["architecture"], pretrained_cfg=dict(member["pretrained_cfg"]), **arguments)


def _renormalization(member: Member, mean: Sequence[float], std: Sequence[float]) -> _ScaleShift | None:
    """Scale and shift of each channel, from the normalization of the images to the member's; None where they agree."""
    own = member["pretrained_cfg"]
    if list(own["mean"]) == list(mean) and list(own["std"]) == list(std):
        return None
    scale_C = [given / wanted for given, wanted in zip(std, own["std"], strict=True)]
    shift_C = [(given - wanted) / s for given, wanted, s in zip(mean, own["mean"], own["std"], strict=True)]
    return scale_C, shift_C


def _renormalized(x_BCHW: Tensor, own: _ScaleShift | None) -> Tensor:
    if own is None:
        return x_BCHW
    scale_C, shift_C = (torch.tensor(values, device=x_BCHW.device).view(1, -1, 1, 1) for values in own)
    return x_BCHW * scale_C + shift_C
