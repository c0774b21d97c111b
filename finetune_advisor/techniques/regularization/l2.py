"""Weight decay."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization, Weights


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
