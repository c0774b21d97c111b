"""Registry of `preprocessing:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.preprocessing.backbone import Backbone
from finetune_advisor.techniques.preprocessing.base import Preprocessing
from finetune_advisor.techniques.preprocessing.data import Data
from finetune_advisor.techniques.preprocessing.min_max import MinMax
from finetune_advisor.techniques.preprocessing.pca_whitening import PcaWhitening
from finetune_advisor.techniques.preprocessing.settings import Preprocess

AnyPreprocessing: TypeAlias = Annotated[Backbone | Data | MinMax | PcaWhitening, Field(discriminator="kind")]

__all__ = ["AnyPreprocessing", "Backbone", "Data", "MinMax", "PcaWhitening", "Preprocess", "Preprocessing"]
