"""Registry of `loss:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.loss.base import Loss
from finetune_advisor.techniques.loss.cross_entropy import CrossEntropy
from finetune_advisor.techniques.loss.focal import Focal

AnyLoss: TypeAlias = Annotated[CrossEntropy | Focal, Field(discriminator="kind")]

__all__ = ["AnyLoss", "CrossEntropy", "Focal", "Loss"]
