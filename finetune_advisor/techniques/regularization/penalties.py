"""Costs and limits of weights and features.

Shapes: B images, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.regularization.base import FeaturePenalty, Regularization, Weights

if TYPE_CHECKING:
    from torch import Tensor


class L1(Regularization):
    """Pull every weight toward zero by the same amount, so that those of little use become zero.

    Together with `l2` in the list it is the elastic net of the slides; with `start` it comes in late.
    """

    source: ClassVar[str] = "slides: regularizations (L1; L1 + L2; L2 + L1 applied towards the end of training)"
    measured: ClassVar[str] = (
        "In a small net on 8,500 digits, trained for 10 epochs, L2, L2 with late L1, L2 with KL-sparsity and max-norm "
        "could not be told apart (benchmarks/results/seed_tables.md)."
    )
    not_advised: ClassVar[str] = (
        "It was not told apart from L2 alone, and weights that are zero make nothing faster here."
    )

    kind: Literal["l1"] = "l1"
    strength: Annotated[float, Field(ge=0, le=1)] = 1e-5
    """How hard: the same for every weight, whatever its size."""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training after which it is switched on; 0.8 is the last fifth."""
    decoupled: bool = True
    """true: shrink by lr * strength and stop at zero; false: add to the gradient."""

    def before_step(self, weights: Weights, *, lr: float, progress: float) -> None:
        """Move each weight toward zero by lr * strength at most, or add strength * sign(weight) to its gradient.

        A weight without a gradient is not part of this step and is left alone. The decoupled form is the proximal step
        of the cost: it leaves exact zeros, where the other form swings around them.
        """
        import torch
        from torch.nn import functional

        if progress < self.start:
            return
        with torch.no_grad():
            for weight in weights.tensors:
                if weight.grad is None:
                    continue
                if self.decoupled:
                    weight.copy_(functional.softshrink(weight, lr * self.strength))
                else:
                    weight.grad.add_(weight.sign(), alpha=self.strength)


class L2(Regularization):
    """Pull the weights toward zero in every step.

    Almost always; more of it where images are few, none on norms and biases.
    """

    source: ClassVar[str] = "slides: regularizations; Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization"
    measured: ClassVar[str] = (
        "In a small net on 8,500 digits, trained for 10 epochs, L2, L2 with late L1, L2 with KL-sparsity and max-norm "
        "could not be told apart (benchmarks/results/seed_tables.md)."
    )
    advised: ClassVar[str] = "Wherever layers are trained: from 1e-5 for plenty of data to 1e-3 for hardly any."

    kind: Literal["l2"] = "l2"
    strength: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """How hard: the multiple of the weight that is its decay."""
    decoupled: bool = True
    """true: shrink by lr * strength (AdamW); false: add to the gradient."""

    def before_step(self, weights: Weights, *, lr: float, progress: float) -> None:  # noqa: ARG002
        """Shrink each weight by the factor 1 - lr * strength, or add strength * weight to its gradient.

        A weight without a gradient is not part of this step and is left alone.
        """
        import torch

        with torch.no_grad():
            for weight in weights.tensors:
                if weight.grad is None:
                    continue
                if self.decoupled:
                    weight.mul_(1 - lr * self.strength)
                else:
                    weight.grad.add_(weight, alpha=self.strength)


class L2Sp(Regularization):
    """Pull pretrained weights toward what they were before training, and new ones toward zero.

    For fine-tuning on few images, where the pretrained weights are worth more than zeros.
    """

    source: ClassVar[str] = "Li et al. 2018, Explicit Inductive Bias for Transfer Learning (arXiv:1802.01483)"
    not_advised: ClassVar[str] = (
        "The small rates of pretrained layers keep them near their start already; it was not compared with `l2`."
    )
    needs_starts: ClassVar[bool] = True

    kind: Literal["l2_sp"] = "l2_sp"
    strength: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How hard pretrained weights are pulled back: the multiple of the way they have gone."""
    new_strength: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How hard the new classifier is pulled toward zero."""
    decoupled: bool = True
    """true: go back by lr * strength; false: add to the gradient, as in the paper."""

    def before_step(self, weights: Weights, *, lr: float, progress: float) -> None:  # noqa: ARG002
        """Add strength * (weight - start) to the gradient, or take lr times that off the weight; new ones start at 0.

        A weight without a gradient is not part of this step and is left alone.
        """
        import torch

        strength = self.new_strength if weights.new else self.strength
        starts = [None] * len(weights.tensors) if weights.new else weights.starts
        with torch.no_grad():
            for weight, start in zip(weights.tensors, starts, strict=True):
                if weight.grad is None:
                    continue
                way = weight if start is None else weight - start
                if self.decoupled:
                    weight.sub_(way, alpha=lr * strength)
                else:
                    weight.grad.add_(way, alpha=strength)


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
