"""Several random changes of one strength."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.torch_policy import apply_policy

if TYPE_CHECKING:
    from torchvision.transforms import RandAugment as TorchRandAugment


class RandAugment(Augmentation):
    """A number of changes from a fixed list, all with the same strength.

    Its list has strong changes of color and shape; wrong where color, or which side is up, carries the label.
    """

    source: ClassVar[str] = "Cubuk et al. 2020, RandAugment: Practical Automated Data Augmentation"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether the labels bear its strong changes of color and shape; what it brings in "
        "short fine-tuning was not measured."
    )

    kind: Literal["rand_augment"] = "rand_augment"
    changes: Annotated[int, Field(ge=1, le=5)] = 2
    """How many of the list, one after the other."""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Strength of each, from 0 to 30."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image after torchvision's RandAugment."""
        return apply_policy(_policy(self.changes, self.magnitude), image, rng)


@cache
def _policy(changes: int, magnitude: int) -> TorchRandAugment:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import RandAugment as TorchRandAugment

    return TorchRandAugment(changes, magnitude, interpolation=InterpolationMode.BILINEAR)
