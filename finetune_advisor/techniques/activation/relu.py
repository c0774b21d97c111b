"""The rectified linear unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class Relu(Activation):
    """Let what is positive pass, and nothing else.

    The choice where nothing speaks against it; a unit that is never positive stops learning.
    """

    source: ClassVar[str] = "slides: activation functions (use ReLU; be careful with your learning rates)"
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden layer."
    )

    kind: Literal["relu"] = "relu"

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """max(0, x)."""
        from torch import nn

        return nn.ReLU()
