"""A largest norm for what enters a unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization, Weights

if TYPE_CHECKING:
    from torch import Tensor

Layers: TypeAlias = (
    Literal["new", "all"] | Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
)


class MaxNorm(Regularization):
    """Keep the weights that enter each unit within a ball around zero, by shrinking those that leave it.

    With it a high learning rate is safe, which dropout needs: the slides' best row has both in the list.
    """

    source: ClassVar[str] = "slides: regularizations (max norm constraints); Srivastava et al. 2014, Dropout"
    measured: ClassVar[str] = (
        "In a small net on 8,500 digits, trained for 10 epochs, L2, L2 with late L1, L2 with KL-sparsity and max-norm "
        "could not be told apart (benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "It was not told apart from L2 alone, and is for high rates, which fine-tuning does not take."
    )

    kind: Literal["max_norm"] = "max_norm"
    limit: Annotated[float, Field(gt=0)] = 3.0
    """Largest Euclidean norm of the weights of a unit (a neuron, a filter)."""
    layers: Layers = "new"
    """new: the new classifier; all: whatever trains; or the names of layers, such as [blocks.6]."""

    def named_layers(self) -> Sequence[str]:
        """Those of `layers`, if they are named."""
        return () if isinstance(self.layers, str) else self.layers

    def after_step(self, weights: Weights) -> None:
        """Scale the weights (K, ...) of each of K units back to `limit` where their norm is larger."""
        import torch

        with torch.no_grad():
            for weight_KD in self._chosen(weights):
                # Rows inside keep their bits: a factor of one would only almost do that.
                norm_K1 = weight_KD.flatten(1).norm(dim=1, keepdim=True)
                factor_K1 = torch.where(norm_K1 > self.limit, self.limit / norm_K1, torch.ones_like(norm_K1))
                weight_KD.mul_(factor_K1.view(-1, *[1] * (weight_KD.ndim - 1)))

    def _chosen(self, weights: Weights) -> Iterator[Tensor]:
        for name, weight in zip(weights.names, weights.tensors, strict=True):
            if self.layers == "all" or (self.layers == "new" and weights.new) or self._names(name):
                yield weight

    def _names(self, parameter: str) -> bool:
        return any(parameter.startswith(f"{layer}.") for layer in self.named_layers())
