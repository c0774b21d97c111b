"""Registry of `ensemble:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.ensembling.base import Ensembling, Origin, Variant
from finetune_advisor.techniques.ensembling.checkpoints import Checkpoints
from finetune_advisor.techniques.ensembling.cross_validation import CrossValidation
from finetune_advisor.techniques.ensembling.seeds import Seeds

AnyEnsembling: TypeAlias = Annotated[Seeds | CrossValidation | Checkpoints, Field(discriminator="kind")]

__all__ = [
    "AnyEnsembling",
    "Checkpoints",
    "CrossValidation",
    "Ensembling",
    "Origin",
    "Seeds",
    "Variant",
]
