"""Registry of `regularization:`, a list."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.regularization.base import FeaturePenalty, Regularization, Weights
from finetune_advisor.techniques.regularization.dropout import Dropout, StochasticDepth
from finetune_advisor.techniques.regularization.penalties import L1, L2, KlSparsity, L2Sp, MaxNorm

AnyRegularization: TypeAlias = Annotated[
    L2 | L1 | L2Sp | MaxNorm | Dropout | StochasticDepth | KlSparsity, Field(discriminator="kind")
]

__all__ = [
    "L1",
    "L2",
    "AnyRegularization",
    "Dropout",
    "FeaturePenalty",
    "KlSparsity",
    "L2Sp",
    "MaxNorm",
    "Regularization",
    "StochasticDepth",
    "Weights",
]
