"""What timm knows of a network: built for images of a given size, without its weights, or its configuration."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import get_pretrained_cfg
from torch import nn


def create_at_size(backbone: str, size: int, **arguments: Any) -> nn.Module:
    """A network with random weights; one whose input is fixed is built for `size` pixels.

    Args:
        backbone: a name that timm knows.
        size: side of its images, in pixels.
        arguments: further ones of `timm.create_model`.
    """
    config = get_pretrained_cfg(backbone)
    assert config is not None, f"{backbone} is not known to timm"
    # timm leaves out what is None.
    net: nn.Module = timm.create_model(backbone, img_size=size if config.fixed_input_size else None, **arguments)
    return net


def default_cfg(name: str) -> dict[str, Any]:
    """What timm has noted of one of our networks (`entry_points.py`)."""
    config = get_pretrained_cfg(name)
    assert config is not None, f"{name} is not registered with timm"
    settings: dict[str, Any] = config.to_dict()
    return settings
