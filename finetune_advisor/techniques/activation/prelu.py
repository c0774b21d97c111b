"""A rectified linear unit whose slope is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class Prelu(Activation):
    """Let what is positive pass, and a learned part of what is negative.

    The slopes take no weight decay, which would pull them toward ReLU; `optimizer: sgd` updates them as the slides say:
    by a step along the momentum of their gradient, summed over the channel's positions.
    """

    source: ClassVar[str] = (
        "slides: parametric ReLU, results of He's paper; "
        "He et al. 2015, Delving Deep into Rectifiers (arXiv:1502.01852)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides' comparison was not repeated."
    )

    kind: Literal["prelu"] = "prelu"
    shared: bool = False
    """true: one slope for all channels of a layer; false: one a channel."""
    start: float = 0.25
    """Every slope before training."""

    def module(self, channels: int) -> nn.Module:
        """x where it is positive, slope * x elsewhere."""
        from torch import nn

        return nn.PReLU(1 if self.shared else channels, init=self.start)
