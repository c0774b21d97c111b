"""Registry of `ensemble:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.ensembling.base import Ensembling, Look, Looks, Origin, Variant
from finetune_advisor.techniques.ensembling.checkpoints import Checkpoints
from finetune_advisor.techniques.ensembling.cross_validation import CrossValidation
from finetune_advisor.techniques.ensembling.multi_scale import MultiScale
from finetune_advisor.techniques.ensembling.seeds import Seeds
from finetune_advisor.techniques.ensembling.soup import Soup
from finetune_advisor.techniques.ensembling.ten_crop import TenCrop

AnyEnsembling: TypeAlias = Annotated[
    Seeds | CrossValidation | Checkpoints | Soup | TenCrop | MultiScale, Field(discriminator="kind")
]

__all__ = [
    "AnyEnsembling",
    "Checkpoints",
    "CrossValidation",
    "Ensembling",
    "Look",
    "Looks",
    "MultiScale",
    "Origin",
    "Seeds",
    "Soup",
    "TenCrop",
    "Variant",
]
