"""Registry of `mixing:`."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.mixing.base import Mixing
from finetune_advisor.techniques.mixing.cutmix import CutMix
from finetune_advisor.techniques.mixing.mixup import MixUp

AnyMixing: TypeAlias = Annotated[MixUp | CutMix, Field(discriminator="kind")]

__all__ = ["AnyMixing", "CutMix", "MixUp", "Mixing"]
