"""The networks on the slides, for training from scratch; importing this module registers them with timm.

Each is a table of what its slide says. Where the slide is silent the docstring of the network says what was taken.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from finetune_advisor.backbones.plain_net import Branches, Conv, Dropout, PlainNet, Plan, Pool

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
