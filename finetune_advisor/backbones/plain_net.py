"""Plain convolutional networks from a table of their layers, with what timm expects of its networks.

Shapes: B batch, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Conv:
    """A convolution and ReLU; the border of zeros keeps the size unless `padding` says otherwise."""

    kernel: int
    channels: int
    stride: int = 1
    padding: int | None = None


@dataclass(frozen=True)
class Pool:
    """Pooling; where windows overlap, one over the edge counts, as in Caffe: 3 x 3, /2 makes 35 of 70."""

    kind: type[nn.MaxPool2d] | type[nn.AvgPool2d]
    kernel: int
    stride: int


@dataclass(frozen=True)
class Dropout:
    """Hides a share of what goes through."""

    rate: float


@dataclass(frozen=True)
class Branches:
    """Parallel ways whose channels are joined."""

    ways: tuple[tuple[Conv, ...], ...]


Layer = Conv | Pool | Dropout | Branches


@dataclass(frozen=True)
class Plan:
    """Stages of layers, then a spatial pyramid and fully connected layers; without a pyramid a map of class scores."""

    stages: tuple[tuple[Layer, ...], ...]
    pyramid: tuple[int, ...] = ()
    units: tuple[int, ...] = ()


class Joined(nn.Module):
    """Parallel ways, their channels one after the other."""

    def __init__(self, ways: Sequence[nn.Module]) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """From (B, C, H, W) to as many channels as all ways have."""
        return torch.cat([way(x_BCHW) for way in self.ways], dim=1)


class Pyramid(nn.Module):
    """The largest value of each channel in each cell of grids of several sizes (He et al. 2014, SPP)."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.grids = nn.ModuleList(nn.AdaptiveMaxPool2d(level) for level in levels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """From (B, C, H, W) of any size to (B, C * cells)."""
        return torch.cat([grid(x_BCHW).flatten(1) for grid in self.grids], dim=1)


class PlainNet(nn.Module):
    """A plain network by a `Plan`, with what timm expects of its networks.

    Args:
        plan: the layers.
        num_classes: K.
        drop_rate: of dropout before the classes, beside what the plan itself drops.
        width: multiplies every number of channels and units; below 1 for a smaller network of the same depth.
    """

    def __init__(self, plan: Plan, num_classes: int = 1000, drop_rate: float = 0.0, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes, self.drop_rate = num_classes, drop_rate
        self._width, channels = width, 3
        stages = []
        for stage in plan.stages:
            layers, channels = self._stage(stage, channels)
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        features = channels * sum(level**2 for level in plan.pyramid)
        neck: list[nn.Module] = [Pyramid(plan.pyramid)] if plan.pyramid else []
        for units in plan.units:
            neck += [nn.Linear(features, self._scaled(units)), nn.ReLU()]
            features = self._scaled(units)
        self.neck = nn.Sequential(*neck)
        self.drop = nn.Dropout(drop_rate)
        self.num_features = features or channels
        self.classifier: nn.Module = self._new_classifier(convolution=not plan.pyramid)
        self.apply(_he)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of normalized images (B, 3, H, W) of any size that survives the pooling."""
        return self.forward_head(self.forward_features(x_BCHW))

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """The last map (B, C, H, W)."""
        features_BCHW: Tensor = self.stages(x_BCHW)
        return features_BCHW

    def forward_head(self, x_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, K), or what enters the classifier, as in timm's networks."""
        x: Tensor = self.drop(self.neck(x_BCHW))
        if pre_logits:
            return x if x.ndim == 2 else x.mean(dim=(2, 3))
        logits: Tensor = self.classifier(x)
        return logits if logits.ndim == 2 else logits.mean(dim=(2, 3))

    def get_classifier(self) -> nn.Module:
        """The last layer, as in timm's networks."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:  # noqa: ARG002
        """A new last layer for another number of classes, as in timm's networks."""
        self.num_classes = num_classes
        self.classifier = self._new_classifier(convolution=isinstance(self.classifier, nn.Conv2d))
        _he(self.classifier)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Stages as the slides' tables draw them, as in timm's networks."""
        return {"stem": r"^stages\.0", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def _new_classifier(self, *, convolution: bool) -> nn.Module:
        if convolution:
            return nn.Conv2d(self.num_features, self.num_classes, 1)
        return nn.Linear(self.num_features, self.num_classes)

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self._width))

    def _stage(self, layers: Sequence[Layer], channels: int) -> tuple[list[nn.Module], int]:
        modules: list[nn.Module] = []
        for layer in layers:
            match layer:
                case Conv():
                    modules += self._convolution(layer, channels)
                    channels = self._scaled(layer.channels)
                case Branches(ways):
                    built = [self._stage(way, channels) for way in ways]
                    modules.append(Joined([nn.Sequential(*way) for way, _ in built]))
                    channels = sum(out for _, out in built)
                case Pool(kind, kernel, stride):
                    modules.append(kind(kernel, stride, ceil_mode=kernel > stride))
                case Dropout(rate):
                    modules.append(nn.Dropout(rate))
        return modules, channels

    def _convolution(self, layer: Conv, channels: int) -> Iterator[nn.Module]:
        padding = layer.kernel // 2 if layer.padding is None else layer.padding
        yield nn.Conv2d(channels, self._scaled(layer.channels), layer.kernel, layer.stride, padding)
        yield nn.ReLU()


def _he(module: nn.Module) -> None:
    """Weights of deviation sqrt(2 / n), biases zero: the slides' current recommendation."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        assert module.bias is not None
        nn.init.zeros_(module.bias)
