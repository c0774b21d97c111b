"""Registry of `augmentation:`, a list whose techniques are applied in order."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation
from finetune_advisor.techniques.augmentation.color_jitter import ColorJitter
from finetune_advisor.techniques.augmentation.horizontal_flip import HorizontalFlip
from finetune_advisor.techniques.augmentation.random_crop import RandomCrop
from finetune_advisor.techniques.augmentation.vertical_flip import VerticalFlip

AnyAugmentation: TypeAlias = Annotated[
    HorizontalFlip | VerticalFlip | RandomCrop | ColorJitter, Field(discriminator="kind")
]

__all__ = ["AnyAugmentation", "Augmentation", "ColorJitter", "HorizontalFlip", "RandomCrop", "VerticalFlip"]
