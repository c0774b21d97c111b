"""The slides' networks, for training from scratch.

Each is a table of what its slide says. Where the slide is silent the docstring of the network says what was taken.

Shapes: B batch, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
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


MAX, AVERAGE = nn.MaxPool2d, nn.AvgPool2d

NIN = Plan(
    stages=(
        (Conv(5, 192), Conv(1, 160), Conv(1, 96), Pool(MAX, 3, 2), Dropout(0.5)),
        (Conv(5, 192), Conv(1, 192), Conv(1, 192), Pool(AVERAGE, 3, 2), Dropout(0.5)),
        (Conv(3, 192), Conv(1, 192)),
    )
)

NDSB_SPP = Plan(
    stages=(
        (Conv(3, 32), Conv(3, 32), Pool(MAX, 3, 2)),
        (Conv(3, 64), Conv(3, 64), Conv(3, 64), Pool(MAX, 3, 2)),
        (Branches(((Conv(3, 96),) * 4, (Conv(3, 96),) * 3)), Pool(MAX, 3, 2)),
        (Conv(3, 256),),
    ),
    pyramid=(1, 2, 4),
    units=(1024, 1024),
)

# A window of 2 x 2 cannot keep the size: a border of one and of none take turns, and every pair keeps it.
_PAIR_128, _PAIR_256 = (tuple(Conv(2, channels, padding=padding) for padding in (1, 0)) for channels in (128, 256))

PRELU_SMALL = Plan(
    stages=(
        (Conv(7, 64, stride=2, padding=0), Pool(MAX, 3, 3)),
        (*_PAIR_128 * 2, Pool(MAX, 2, 2)),
        _PAIR_256 * 3,
    ),
    pyramid=(6, 3, 2, 1),
    units=(4096, 4096),
)


def _large(depth: int) -> Plan:
    """Models A (five convolutions a stage) and B (six) of He et al. 2015, table 3."""
    half = Pool(MAX, 2, 2)
    return Plan(
        stages=(
            (Conv(7, 96, stride=2), half),
            ((Conv(3, 256),) * depth) + (half,),
            ((Conv(3, 512),) * depth) + (half,),
            (Conv(3, 512),) * depth,
        ),
        pyramid=(7, 3, 2, 1),
        units=(4096, 4096),
    )


PRELU_LARGE, PLAIN22 = _large(5), _large(6)

SIDES = {"nin": 32, "ndsb_spp": 70, "prelu_small": 224, "prelu_large": 224, "plain22": 224}
"""Width and height of the images on the slides, by the name of the network."""


def _config(side: int) -> dict[str, Any]:
    return {
        "input_size": (3, side, side),
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "stages.0.0",
        "classifier": "classifier",
    }


# timm's registration looks for this name in the module of the entry point.
default_cfgs = generate_default_cfgs({name: _config(side) for name, side in SIDES.items()})


def _built(name: str, plan: Plan, pretrained: bool, arguments: dict[str, Any]) -> PlainNet:
    net: PlainNet = build_model_with_cfg(
        PlainNet,
        name,
        pretrained,
        plan=plan,
        kwargs_filter=("in_chans", "global_pool", "img_size"),  # type: ignore[arg-type]
        **arguments,
    )
    return net


@register_model
def nin(pretrained: bool = False, **kwargs: Any) -> PlainNet:
    """Network in Network for 32 x 32 images (slides: performances of ReLUs); its class scores pass no ReLU."""
    return _built("nin", NIN, pretrained, kwargs)


@register_model
def ndsb_spp(pretrained: bool = False, **kwargs: Any) -> PlainNet:
    """The NDSB network with spatial pyramid pooling (slides: performances of ReLUs).

    The first branch has the fourth convolution. The slide flattens to 12,544 numbers, but its pyramid {1, 2, 4} of 256
    channels has 256 * 21 = 5,376; the pyramid is followed.
    """
    return _built("ndsb_spp", NDSB_SPP, pretrained, kwargs)


@register_model
def prelu_small(pretrained: bool = False, **kwargs: Any) -> PlainNet:
    """The small network of the PReLU paper (slides: results of He's paper), without its unstated dropout."""
    return _built("prelu_small", PRELU_SMALL, pretrained, kwargs)


@register_model
def prelu_large(pretrained: bool = False, **kwargs: Any) -> PlainNet:
    """The large network of the PReLU paper, model A: the slides give its results, the paper's table 3 its layers."""
    return _built("prelu_large", PRELU_LARGE, pretrained, kwargs)


@register_model
def plain22(pretrained: bool = False, **kwargs: Any) -> PlainNet:
    """The 22-layer network of the initialization figure, model B (slides: current recommendation, figure 2)."""
    return _built("plain22", PLAIN22, pretrained, kwargs)
