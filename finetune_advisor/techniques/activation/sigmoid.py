"""The logistic function."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class Sigmoid(Activation):
    """Squash numbers between 0 and 1; kept for comparison, for the slides say: never use it.

    Its outputs are not centered and its gradients die where it saturates.
    """

    source: ClassVar[str] = (
        "slides: activation functions (2 big problems: saturated neurons kill the gradients, "
        "outputs are not zero-centered)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides say never to use it."
    )
    warning: ClassVar[str | None] = (
        "sigmoid saturates, which kills the gradients, and its outputs are not zero-centered; relu learns faster"
    )

    kind: Literal["sigmoid"] = "sigmoid"

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """1 / (1 + exp(-x))."""
        from torch import nn

        return nn.Sigmoid()
