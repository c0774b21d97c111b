"""A rectified linear unit whose slope is drawn by lot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from finetune_advisor.techniques.activation.base import Activation

if TYPE_CHECKING:
    from torch import nn


class Rrelu(Activation):
    """Let what is positive pass, and in training a random part of what is negative.

    For small data: the slides found that the noise keeps it from overfitting.
    """

    source: ClassVar[str] = (
        "slides: randomized ReLU (a ~ 1 / U(l, u), in test 2 / (l + u)); "
        "Xu et al. 2015, Empirical Evaluation of Rectified Activations (arXiv:1505.00853)"
    )
    not_advised: ClassVar[str] = (
        "The advice keeps the network's own activations, which its weights were learned with, and adds no hidden "
        "layer; the slides' comparison was not repeated."
    )

    kind: Literal["rrelu"] = "rrelu"
    lower: Annotated[float, Field(ge=1)] = 3.0
    """In training negative numbers are divided by at least this ..."""
    upper: Annotated[float, Field(ge=1)] = 8.0
    """... and at most this; in test by the mean of both."""

    @model_validator(mode="after")
    def _ordered(self) -> Rrelu:
        if self.lower > self.upper:
            raise ValueError(f"expected `lower` of at most `upper`, found {self.lower:g} and {self.upper:g}")
        return self

    def module(self, channels: int) -> nn.Module:  # noqa: ARG002
        """x where it is positive, x / a elsewhere; a is drawn for every element."""
        from finetune_advisor.techniques.activation.activation_modules import RandomizedLeakyReLU

        return RandomizedLeakyReLU(self.lower, self.upper)
