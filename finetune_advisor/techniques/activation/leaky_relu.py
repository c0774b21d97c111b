"""A rectified linear unit that does not die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class LeakyRelu(Activation):
    """Let what is positive pass, and a fixed small part of what is negative.

    Where units die, and on small data, where the slides found 1 / 5.5 clearly better than ReLU.
    """

    source: ClassVar[str] = (
        "slides: activation functions (Leaky ReLU), performances of ReLUs (a = 100, a = 5.5); "
        "Xu et al. 2015, Empirical Evaluation of Rectified Activations (arXiv:1505.00853)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides' comparison was not repeated."
    )

    kind: Literal["leaky_relu"] = "leaky_relu"
    a: Annotated[float, Field(ge=1)] = 5.5
    """Negative numbers are divided by this."""

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """x where it is positive, x / a elsewhere."""
        from torch import nn

        return nn.LeakyReLU(1 / self.a)
