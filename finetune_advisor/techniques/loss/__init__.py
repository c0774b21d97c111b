"""Registry of `loss:`, which has one member so far (a second makes this a union on `kind`)."""

from typing import Annotated, TypeAlias

from finetune_advisor.techniques.base import NamesItsKind
from finetune_advisor.techniques.loss.base import Loss
from finetune_advisor.techniques.loss.cross_entropy import CrossEntropy

AnyLoss: TypeAlias = Annotated[CrossEntropy, NamesItsKind]

__all__ = ["AnyLoss", "CrossEntropy", "Loss"]
