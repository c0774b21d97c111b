"""Registry of `optimizer:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.optimizer.adamw import AdamW
from finetune_advisor.techniques.optimizer.base import Optimizer
from finetune_advisor.techniques.optimizer.sgd import Sgd
from finetune_advisor.techniques.optimizer.timm import Timm

AnyOptimizer: TypeAlias = Annotated[Sgd | AdamW | Timm, Field(discriminator="kind")]

__all__ = ["AdamW", "AnyOptimizer", "Optimizer", "Sgd", "Timm"]
