"""The largest of several linear functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class Maxout(Activation):
    """Take the largest of several linear functions, which doubles the parameters of the layer, or more.

    With dropout and enough data, where twice the parameters can be paid for.
    """

    source: ClassVar[str] = "slides: maxout neuron (max(w1 x + b1, w2 x + b2)); Goodfellow et al. 2013, Maxout Networks"
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; what it brings was not measured."
    )

    kind: Literal["maxout"] = "maxout"
    pieces: Annotated[int, Field(ge=2)] = 2
    """Linear functions a unit chooses from."""

    @property
    def inputs_per_unit(self) -> int:
        """Each linear function is an output of the layer below."""
        return self.pieces

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """The maximum over groups of `pieces` neighboring inputs."""
        from finetune_advisor.techniques.activation.activation_modules import Maxout

        return Maxout(self.pieces)
