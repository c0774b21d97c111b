"""The sum of absolute weights as a cost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization, Weights


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
