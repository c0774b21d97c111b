"""All weights zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from finetune_advisor.techniques.initialization.base import Fitted, Initialization

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Zeros(Initialization):
    """Start the classifier at zero, so that every class is equally likely and no seed matters.

    Inside a network zeros would make all neurons alike; a last layer gets its asymmetry from the labels.
    """

    source: ClassVar[str] = "slides: initialization (all zero initialization); Kolesnikov et al. 2020, Big Transfer"
    advised: ClassVar[str] = (
        "For the classifier from 50 images an effective class on, where layers are trained: no seed matters, and no "
        "pass over the images is needed."
    )

    kind: Literal["zeros"] = "zeros"

    def fill(
        self,
        weight_KD: Tensor,
        bias_K: Tensor,
        generator: torch.Generator,  # noqa: ARG002
        *,
        fitted: Fitted | None = None,  # noqa: ARG002
    ) -> None:
        """Set weight and bias to zero in place."""
        import torch

        with torch.no_grad():
            weight_KD.zero_()
            bias_K.zero_()
