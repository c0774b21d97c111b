"""One random change of a random strength."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from PIL import Image

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.torch_policy import apply_policy

if TYPE_CHECKING:
    from torchvision.transforms import TrivialAugmentWide


class TrivialAugment(Augmentation):
    """One change from a fixed list, with a strength drawn from a wide range: nothing to tune.

    Its list has strong changes of color and shape; wrong where color, or which side is up, carries the label.
    """

    source: ClassVar[str] = "Müller and Hutter 2021, TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether the labels bear its strong changes of color and shape; what it brings in "
        "short fine-tuning was not measured."
    )

    kind: Literal["trivial_augment"] = "trivial_augment"

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image after torchvision's TrivialAugmentWide."""
        return apply_policy(_policy(), image, rng)


@cache
def _policy() -> TrivialAugmentWide:
    from torchvision.transforms import InterpolationMode, TrivialAugmentWide

    return TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)
