"""Weights that make every layer's outputs vary by one on the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Drawn

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class UnitVariance(Drawn):
    """Start at orthogonal weights, scaled layer by layer so that outputs have variance one on training images.

    It needs no formula for what the activations do to the signal, and so holds for any of them.
    """

    source: ClassVar[str] = (
        "Mishkin & Matas 2016, All you need is a good init (LSUV, arXiv:1511.06422); "
        "slides: initialization (calibrating the variances)"
    )
    measured: ClassVar[str] = (
        "It keeps a variance of 1 through ten layers; `he` keeps one of 2 (benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "The advice never trains from random weights; whether a network then learns better from it than from `he` was "
        "not measured."
    )

    kind: Literal["unit_variance"] = "unit_variance"
    images: Annotated[int, Field(ge=2)] = 64
    """Training images that the variance is taken over."""

    def draw(self, weight_KD: Tensor, generator: torch.Generator) -> None:
        """Orthogonal rows, or columns where there are fewer; they are scaled when there are images to do it on."""
        from torch import nn

        nn.init.orthogonal_(weight_KD, generator=generator)
