"""Registry of `augmentation:`, a list whose techniques are applied in order."""

from typing import Annotated, TypeAlias

from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.color_jitter import ColorJitter
from finetune_advisor.techniques.augmentation.fancy_pca import FancyPca
from finetune_advisor.techniques.augmentation.geometry import apply_all
from finetune_advisor.techniques.augmentation.horizontal_flip import HorizontalFlip
from finetune_advisor.techniques.augmentation.lens_distortion import LensDistortion
from finetune_advisor.techniques.augmentation.rand_augment import RandAugment
from finetune_advisor.techniques.augmentation.random_combination import RandomCombination
from finetune_advisor.techniques.augmentation.random_crop import RandomCrop
from finetune_advisor.techniques.augmentation.random_erasing import RandomErasing
from finetune_advisor.techniques.augmentation.rotation import Rotation
from finetune_advisor.techniques.augmentation.shearing import Shearing
from finetune_advisor.techniques.augmentation.stretching import Stretching
from finetune_advisor.techniques.augmentation.translation import Translation
from finetune_advisor.techniques.augmentation.trivial_augment import TrivialAugment
from finetune_advisor.techniques.augmentation.vertical_flip import VerticalFlip

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
