"""`head.initialization:` and `backbone.initialization:`, what new layers start from.

Shapes: K outputs (classes), D inputs (features).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.base import Technique
from finetune_advisor.techniques.strategy.base import STRENGTHS, Strengths

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


class Gaussian(Normal):
    """Start at small random numbers around zero, the same size whatever the layer.

    Through many layers such numbers let the signal vanish; for one new layer they do.
    """

    source: ClassVar[str] = "slides: initialization (small random numbers: weights ~ 0.001 x N(0, 1))"
    measured: ClassVar[str] = (
        "Through ten layers of 512 units 0.001 N(0, 1) leaves 3.6e-36 of the signal's variance "
        "(benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "The only new layer of an advised recipe is a linear classifier, which zeros start as well, whatever the seed."
    )

    kind: Literal["gaussian"] = "gaussian"
    std: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Standard deviation of the weights."""

    def deviation(self, inputs: int) -> float:  # noqa: ARG002
        """Always `std`."""
        return self.std


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


class Calibrated(Normal):
    """Start at random numbers of deviation 1 / sqrt(n), so that n inputs give outputs of their own variance.

    Right for tanh and for a last layer; each ReLU halves the signal, which `he` makes up for.
    """

    source: ClassVar[str] = "slides: initialization (calibrating the variances: randn(n) / sqrt(n))"
    measured: ClassVar[str] = (
        "A net of 22 layers with ReLU did not learn from it in 10 epochs: 90 % error on ten classes, 3 seeds "
        "(benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "It is for layers within a network; the only new one of an advised recipe is a linear classifier, which "
        "starts from zeros or a probe."
    )

    kind: Literal["calibrated"] = "calibrated"

    def deviation(self, inputs: int) -> float:
        """1 / sqrt(n)."""
        return 1 / math.sqrt(inputs)


class He(Normal):
    """Start at random numbers of deviation sqrt(2 / n): a ReLU halves the signal, and this doubles it.

    Right for layers that a ReLU follows, and the choice for networks that train from random weights.
    """

    source: ClassVar[str] = (
        "slides: initialization (current recommendation: randn(n) * sqrt(2.0 / n)); "
        "He et al. 2015, Delving Deep into Rectifiers"
    )
    measured: ClassVar[str] = (
        "A net of 22 layers with ReLU fell to 66 % error on ten classes in 10 epochs, 3 seeds, and stayed at 90 % "
        "from 1/sqrt(n) (benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = "The advice never trains from random weights; where you do, take it."

    kind: Literal["he"] = "he"

    def deviation(self, inputs: int) -> float:
        """sqrt(2 / n)."""
        return math.sqrt(2 / inputs)


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


AnyInitialization: TypeAlias = Annotated[
    Zeros | Gaussian | Uniform | Calibrated | He | UnitVariance | Probe, Field(discriminator="kind")
]

__all__ = [
    "AnyInitialization",
    "Calibrated",
    "Fitted",
    "Gaussian",
    "He",
    "Initialization",
    "Probe",
    "Uniform",
    "UnitVariance",
    "Zeros",
]
