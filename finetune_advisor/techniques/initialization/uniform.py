"""Small random numbers, all equally likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Drawn

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Uniform(Drawn):
    """Start at small random numbers between two bounds.

    As good as the Gaussian of the same deviation, which is the largest value / sqrt(3).
    """

    source: ClassVar[str] = "slides: initialization (small random numbers: uniform distribution is also ok)"
    measured: ClassVar[str] = (
        "Through ten layers of 512 units bounds of +-0.001 leave 8e-41 of the signal's variance "
        "(benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "The only new layer of an advised recipe is a linear classifier, which zeros start as well, whatever the seed."
    )

    kind: Literal["uniform"] = "uniform"
    limit: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Largest weight, in either direction."""

    def draw(self, weight_KD: Tensor, generator: torch.Generator) -> None:
        """Evenly from `-limit` to `limit`."""
        weight_KD.uniform_(-self.limit, self.limit, generator=generator)
