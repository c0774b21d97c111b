"""A cost for units that fire more or less often than wanted.

Shapes: B images, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.regularization.base import FeaturePenalty

if TYPE_CHECKING:
    from torch import Tensor

_EDGE = 1e-6
"""Averages are kept this far from 0 and 1, where the cost or its slope is infinite."""


class KlSparsity(FeaturePenalty):
    """Let each input of the classifier fire on a small share of the images.

    The cost is the divergence between coins that fall with probability `target` and with a unit's average over the
    batch. It takes a pass over the batch without gradients, to know that average in every part and every process.
    """

    source: ClassVar[str] = "slides: regularizations (L2 + KL-sparsity); Ng 2011, Sparse autoencoder (CS294A notes)"
    measured: ClassVar[str] = (
        "In a small net on 8,500 digits, trained for 10 epochs, L2, L2 with late L1, L2 with KL-sparsity and max-norm "
        "could not be told apart (benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = "It was not told apart from L2 alone, and costs a second pass over every batch."

    kind: Literal["kl_sparsity"] = "kl_sparsity"
    strength: Annotated[float, Field(ge=0)] = 1e-3
    """The multiple of the divergence, summed over units, that is added to the mean loss."""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the images on which a unit should fire."""
    units: Literal["rate", "probability"] = "rate"
    """rate: a unit of activation a fires with probability 1 - exp(-a), 0 below 0; probability: with a (sigmoid)."""

    def reading(self, x_BD: Tensor) -> Tensor:
        """The probability that a unit fires."""
        return x_BD if self.units == "probability" else 1 - x_BD.relu().neg().exp()

    def penalty(self, mean_D: Tensor) -> Tensor:
        """strength * sum over units of t log(t / mean) + (1 - t) log((1 - t) / (1 - mean))."""
        import torch

        q_D, t = mean_D.clamp(_EDGE, 1 - _EDGE), torch.tensor(self.target, dtype=mean_D.dtype, device=mean_D.device)
        divergence_D = t * (t.log() - q_D.log()) + (1 - t) * ((1 - t).log() - (1 - q_D).log())
        return self.strength * divergence_D.sum()
