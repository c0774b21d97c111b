"""Small random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Fitted, Initialization

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Gaussian(Initialization):
    """Start the classifier at small random numbers around zero."""

    source: ClassVar[str] = "slides: initialization (small random numbers)"

    kind: Literal["gaussian"] = "gaussian"
    std: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Standard deviation of the weights."""

    def fill(
        self,
        weight_KD: Tensor,
        bias_K: Tensor,
        generator: torch.Generator,
        *,
        fitted: Fitted | None = None,  # noqa: ARG002
    ) -> None:
        """Draw the weight from a normal distribution and set the bias to zero, in place."""
        import torch

        with torch.no_grad():
            weight_KD.normal_(mean=0.0, std=self.std, generator=generator)
            bias_K.zero_()
