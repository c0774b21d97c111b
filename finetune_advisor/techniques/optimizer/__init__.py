"""Registry of `optimizer:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.optimizer.adamw import AdamW
from finetune_advisor.techniques.optimizer.base import Optimizer
from finetune_advisor.techniques.optimizer.sgd import Sgd

AnyOptimizer: TypeAlias = Annotated[Sgd | AdamW, Field(discriminator="kind")]

__all__ = ["AdamW", "AnyOptimizer", "Optimizer", "Sgd"]
