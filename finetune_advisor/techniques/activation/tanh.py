"""The hyperbolic tangent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class Tanh(Activation):
    """Squash numbers between -1 and 1, centered at zero; saturated units pass no gradient.

    Of use for a small head; the slides: try it, but do not expect much.
    """

    source: ClassVar[str] = "slides: activation functions (try out tanh but don't expect much)"
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides expect little of it."
    )

    kind: Literal["tanh"] = "tanh"

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """tanh(x)."""
        from torch import nn

        return nn.Tanh()
