"""A network with the whitening of its images in front of it, as one network that timm can open.

The matrix is part of the model: whoever opens it, and whatever it is exported to, whitens alike.

Shapes: B batch, C channels, H height, W width, D = C * H * W numbers of an image, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from finetune_advisor.backbones.at_size import create_at_size, default_cfg

WHITENED = ARCHITECTURE = "finetune_advisor_whitened"
"""Name under which timm builds a `Whitened`."""


class Whitening(nn.Module):
    """(x - mean) W over all numbers of an image; it never learns, and computes in float32 whatever is around it."""

    mean_D: Tensor
    matrix_DD: Tensor

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(numbers))
        self.register_buffer("matrix_DD", torch.eye(numbers))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images (B, C, H, W) to images."""
        with torch.autocast(x_BCHW.device.type, enabled=False):
            white_BD = (x_BCHW.float().flatten(1) - self.mean_D) @ self.matrix_DD
        return white_BD.view(x_BCHW.shape).contiguous(memory_format=torch.channels_last)


class Whitened(nn.Module):
    """Any timm network that sees whitened images."""

    def __init__(self, whitening: Whitening, net: nn.Module) -> None:
        super().__init__()
        self.whitening = whitening
        self.net = net
        inner: Any = net  # timm's networks have these by agreement, not by type
        self.num_classes: int = inner.num_classes
        self.num_features: int = inner.num_features
        self.pretrained_cfg = self.default_cfg = {
            **default_cfg(WHITENED),
            "fixed_input_size": True,
            "classifier": _below_net(inner.pretrained_cfg["classifier"]),
        }

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, K) of images that are centered, not yet whitened (B, C, H, W)."""
        logits_BK: Tensor = self.net(self.whitening(x_BCHW))
        return logits_BK

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """The inner network's features, as in timm's networks."""
        features: Tensor = self.net.forward_features(self.whitening(x_BCHW))  # type: ignore[operator]
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """The inner network's head, as in timm's networks."""
        output: Tensor = self.net.forward_head(features, pre_logits=pre_logits)  # type: ignore[operator]
        return output

    def get_classifier(self) -> nn.Module:
        """The inner network's classifier, as in timm's networks."""
        classifier: nn.Module = self.net.get_classifier()  # type: ignore[operator]
        return classifier

    def reset_classifier(self, num_classes: int) -> None:
        """A new classifier for another number of classes, as in timm's networks."""
        self.net.reset_classifier(num_classes)  # type: ignore[operator]
        self.num_classes = num_classes


def new_whitened(backbone: str, backbone_args: Mapping[str, Any], *, num_classes: int, size: int) -> Whitened:
    """A `Whitened` with random weights and a whitening that changes nothing, to be filled from a file."""
    net = create_at_size(backbone, size, num_classes=num_classes, **backbone_args)
    return Whitened(Whitening(3 * size**2), net)


def _below_net(classifier: str | tuple[str, ...] | None) -> str | tuple[str, ...]:
    assert classifier is not None, "a network that classifies"
    return f"net.{classifier}" if isinstance(classifier, str) else tuple(f"net.{name}" for name in classifier)
