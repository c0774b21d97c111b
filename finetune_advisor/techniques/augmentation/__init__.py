"""Registry of `augmentation:`, a list whose techniques are applied in order."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.color import ColorJitter, FancyPca
from finetune_advisor.techniques.augmentation.crops import RandomCrop, RandomErasing
from finetune_advisor.techniques.augmentation.geometric import (
    HorizontalFlip,
    LensDistortion,
    Rotation,
    Shearing,
    Stretching,
    Translation,
    VerticalFlip,
    apply_all,
)
from finetune_advisor.techniques.augmentation.policies import RandAugment, RandomCombination, TrivialAugment

AnyAugmentation: TypeAlias = Annotated[
    HorizontalFlip
    | VerticalFlip
    | RandomCrop
    | Translation
    | Rotation
    | Stretching
    | Shearing
    | LensDistortion
    | RandomCombination
    | ColorJitter
    | FancyPca
    | TrivialAugment
    | RandAugment
    | RandomErasing,
    Field(discriminator="kind"),
]

__all__ = [
    "AnyAugmentation",
    "Augmentation",
    "ColorJitter",
    "Context",
    "FancyPca",
    "HorizontalFlip",
    "LensDistortion",
    "RandAugment",
    "RandomCombination",
    "RandomCrop",
    "RandomErasing",
    "Rotation",
    "Shearing",
    "Stretching",
    "Translation",
    "TrivialAugment",
    "VerticalFlip",
    "apply_all",
]
