"""The seam of initialization: fill the new classifier, or any linear layer or convolution.

Shapes: K outputs (classes), D inputs (features).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finetune_advisor.techniques.base import Technique

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Fitted:
    """A linear classifier that was fitted on the features of the training images: logits = x @ weight.T + bias."""

    weight_KD: Tensor
    bias_K: Tensor


class Initialization(Technique):
    """What the new classifier starts from."""

    needs_features: ClassVar[bool] = False
    """Whether the training images go through the frozen network first, to fit the classifier that `fill` is given."""

    @abstractmethod
    def fill(
        self, weight_KD: Tensor, bias_K: Tensor, generator: torch.Generator, *, fitted: Fitted | None = None
    ) -> None:
        """Fill a linear layer's weight (K, D) and bias (K) in place; the only randomness is `generator`.

        Args:
            fitted: what was fitted on the features, of the layer's shape; None unless `needs_features`.
        """


class Drawn(Initialization):
    """Weights drawn at random, biases zero."""

    @abstractmethod
    def draw(self, weight_KD: Tensor, generator: torch.Generator) -> None:
        """Draw the weight (K, D), in place; of a convolution D is all that one output sees."""

    def fill(
        self,
        weight_KD: Tensor,
        bias_K: Tensor,
        generator: torch.Generator,
        *,
        fitted: Fitted | None = None,  # noqa: ARG002
    ) -> None:
        """Draw the weight and set the bias to zero, in place."""
        import torch

        with torch.no_grad():
            self.draw(weight_KD, generator)
            bias_K.zero_()


class Normal(Drawn):
    """Weights drawn from a normal distribution around zero."""

    @abstractmethod
    def deviation(self, inputs: int) -> float:
        """Standard deviation of the weights of a neuron with so many inputs."""

    def draw(self, weight_KD: Tensor, generator: torch.Generator) -> None:
        """With the deviation that belongs to the layer's inputs."""
        weight_KD.normal_(mean=0.0, std=self.deviation(weight_KD[0].numel()), generator=generator)
