"""Registry of `regularization:`, a list."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.regularization.base import FeaturePenalty, Regularization, Weights
from finetune_advisor.techniques.regularization.dropout import Dropout
from finetune_advisor.techniques.regularization.kl_sparsity import KlSparsity
from finetune_advisor.techniques.regularization.l1 import L1
from finetune_advisor.techniques.regularization.l2 import L2
from finetune_advisor.techniques.regularization.l2_sp import L2Sp
from finetune_advisor.techniques.regularization.max_norm import MaxNorm
from finetune_advisor.techniques.regularization.stochastic_depth import StochasticDepth

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
