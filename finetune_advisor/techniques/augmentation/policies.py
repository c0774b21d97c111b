"""Several random changes in a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.color import ColorJitter
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

if TYPE_CHECKING:
    from torchvision.transforms import RandAugment as TorchRandAugment
    from torchvision.transforms import TrivialAugmentWide


def apply_policy(
    policy: Callable[[Image.Image], Image.Image], image: Image.Image, rng: np.random.Generator
) -> Image.Image:
    """The image after a policy of torchvision; torch's own random state is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        return policy(image)


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
        return apply_policy(_rand_policy(self.changes, self.magnitude), image, rng)


@cache
def _rand_policy(changes: int, magnitude: int) -> TorchRandAugment:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import RandAugment as TorchRandAugment

    return TorchRandAugment(changes, magnitude, interpolation=InterpolationMode.BILINEAR)


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
        return apply_policy(_trivial_policy(), image, rng)


@cache
def _trivial_policy() -> TrivialAugmentWide:
    from torchvision.transforms import InterpolationMode, TrivialAugmentWide

    return TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)


Member = Literal[
    "translation",
    "rotation",
    "stretching",
    "shearing",
    "lens_distortion",
    "color_jitter",
    "horizontal_flip",
    "vertical_flip",
]

_MEMBERS: dict[Member, Augmentation] = {
    "translation": Translation(),
    "rotation": Rotation(),
    "stretching": Stretching(),
    "shearing": Shearing(),
    "lens_distortion": LensDistortion(),
    "color_jitter": ColorJitter(),
    "horizontal_flip": HorizontalFlip(),
    "vertical_flip": VerticalFlip(),
}


class RandomCombination(Augmentation):
    """Some of the named changes, chosen and ordered by lot for each image, each at its usual strength.

    Right where no single change stands out as the one that the data needs.
    """

    source: ClassVar[str] = "slides: data augmentation (random mix/combinations: go crazy)"
    not_advised: ClassVar[str] = (
        "Most of what it draws from are changes of which `analyze` does not measure whether the labels bear them."
    )

    kind: Literal["random_combination"] = "random_combination"
    of: Annotated[tuple[Member, ...], Field(min_length=1)] = (
        "translation",
        "rotation",
        "stretching",
        "shearing",
        "lens_distortion",
    )
    """The changes to choose from."""
    count: Annotated[int, Field(ge=1)] = 2
    """How many of them each image gets."""

    @model_validator(mode="after")
    def _enough(self) -> RandomCombination:
        if len(set(self.of)) < len(self.of):
            raise ValueError("expected different changes in `of`")
        if self.count > len(self.of):
            raise ValueError(f"expected `count` of at most {len(self.of)}, the changes in `of`, found {self.count}")
        return self

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image after `count` of the changes."""
        chosen = [_MEMBERS[self.of[index]] for index in rng.permutation(len(self.of))[: self.count]]
        return apply_all(chosen, image, rng, context)
