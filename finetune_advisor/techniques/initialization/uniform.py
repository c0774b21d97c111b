"""Small random numbers, all equally likely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Fitted, Initialization

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Uniform(Initialization):
    """Start at small random numbers between two bounds."""

    source: ClassVar[str] = "slides: initialization (small random numbers: uniform distribution is also ok)"

    kind: Literal["uniform"] = "uniform"
    limit: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Largest weight, in either direction."""

    def fill(
        self,
        weight_KD: Tensor,
        bias_K: Tensor,
        generator: torch.Generator,
        *,
        fitted: Fitted | None = None,  # noqa: ARG002
    ) -> None:
        """Draw the weight from a uniform distribution and set the bias to zero, in place."""
        import torch

        with torch.no_grad():
            weight_KD.uniform_(-self.limit, self.limit, generator=generator)
            bias_K.zero_()
