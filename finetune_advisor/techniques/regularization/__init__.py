"""Registry of `regularization:`, a list."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.regularization.base import Regularization
from finetune_advisor.techniques.regularization.dropout import Dropout
from finetune_advisor.techniques.regularization.l2 import L2

AnyRegularization: TypeAlias = Annotated[L2 | Dropout, Field(discriminator="kind")]

__all__ = ["L2", "AnyRegularization", "Dropout", "Regularization"]
