"""Registry of `preprocessing:`, which has one member so far (a second makes this a union on `kind`)."""

from typing import Annotated, TypeAlias

from finetune_advisor.techniques.base import NamesItsKind
from finetune_advisor.techniques.preprocessing.backbone import Backbone
from finetune_advisor.techniques.preprocessing.base import Preprocessing
from finetune_advisor.techniques.preprocessing.settings import Preprocess

AnyPreprocessing: TypeAlias = Annotated[Backbone, NamesItsKind]

__all__ = ["AnyPreprocessing", "Backbone", "Preprocess", "Preprocessing"]
