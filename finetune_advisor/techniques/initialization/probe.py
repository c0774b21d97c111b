"""The linear probe's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.initialization.base import Fitted, Initialization
from finetune_advisor.techniques.strategy.base import STRENGTHS, Strengths

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Probe(Initialization):
    """Start the classifier at a linear probe fitted on the frozen network's features of the training images.

    The pretrained layers then see small, meaningful gradients from the first step. A classifier that starts at nothing
    first bends the features to fit its own noise, which costs most where images are few. Validation images take no
    part in the fit.
    """

    source: ClassVar[str] = (
        "Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features (arXiv:2202.10054); "
        "slides: initialization (closed-form linear probe)"
    )
    advised: ClassVar[str] = "For the classifier below 50 images an effective class, where layers are trained."
    needs_features: ClassVar[bool] = True

    kind: Literal["probe"] = "probe"
    strengths: Strengths = STRENGTHS
    """L2 strengths to choose from, on folds of the training images."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts the training images are dealt into for that choice."""

    def fill(
        self,
        weight_KD: Tensor,
        bias_K: Tensor,
        generator: torch.Generator,  # noqa: ARG002
        *,
        fitted: Fitted | None = None,
    ) -> None:
        """Copy the fitted classifier, in place."""
        import torch

        assert fitted is not None, "`needs_features` asks for it"
        with torch.no_grad():
            weight_KD.copy_(fitted.weight_KD.reshape(weight_KD.shape))
            bias_K.copy_(fitted.bias_K)
