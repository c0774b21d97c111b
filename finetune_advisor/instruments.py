"""Instruments: frozen networks, and how images are shown to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from finetune_advisor.artifacts.recipe import Recipe
from finetune_advisor.backbones.build import backbone_config
from finetune_advisor.backbones.bundled import RULER
from finetune_advisor.backbones.weights import WORDS, Source, find_weights
from finetune_advisor.techniques.preprocessing import Backbone as BackbonePreprocessing
from finetune_advisor.techniques.preprocessing import Preprocessing
from finetune_advisor.techniques.preprocessing.base import AskColors
from finetune_advisor.techniques.preprocessing.settings import Preprocess, ValueRange

FORMAT = 2
"""Raised when the meaning of a cached row changes."""

Change = Literal["horizontal_flip", "vertical_flip", "rotation_90", "gray"]
"""What may be done to the pixels before the network sees them."""


@dataclass(frozen=True)
class Instrument:
    """A frozen network and how images are shown to it."""

    backbone: str
    weights: str
    preprocess: Preprocess
    seed: int = 0
    """Seeds random weights, and is 0 where weights are not random."""
    change: Change | None = None

    @cached_property
    def key(self) -> str:
        """Name of the cache folder: everything a row depends on beside the image and the precision of the device."""
        found = find_weights(self.backbone, self.weights, seed=self.seed)
        changed = () if self.change is None else (self.change,)
        return cache_key(self.backbone, FORMAT, self.backbone, found.digest, self.preprocess.key(), *changed)


def cache_key(name: str, *parts: object) -> str:
    """A name with a digest of everything that what is cached under it depends on."""
    return f"{name}-{hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()}"


def preprocess_of(
    backbone: str, weights: str, preprocessing: Preprocessing, colors: AskColors | None = None
) -> Preprocess:
    """How images are shown to these weights, where `preprocessing` asks for it by the training images' colors.

    Raises:
        BackboneError: timm does not know the network.
    """
    source: Source = weights if weights in WORDS else "file"  # type: ignore[assignment]
    return preprocessing.resolve(backbone_config(backbone, source), colors)


def instrument(backbone: str, weights: str, preprocessing: Preprocessing, *, seed: int = 0) -> Instrument:
    """The network a recipe names, shown images the way the recipe says."""
    return Instrument(
        backbone, weights, preprocess_of(backbone, weights, preprocessing), seed if weights == "random" else 0
    )


def instrument_of(recipe: Recipe) -> Instrument:
    """The network of a recipe, as a run of it sees the images."""
    return instrument(recipe.backbone.name, recipe.backbone.weights, recipe.preprocessing, seed=recipe.seed)


def ruler(value_range: ValueRange | None = None) -> Instrument:
    """The fixed instrument that similarity is measured with, whatever backbone is trained.

    Its BatchNorm layers carry ImageNet's statistics and its classifier knows ImageNet's classes.

    Args:
        value_range: of the data set, see `Preprocess`.
    """
    return instrument(RULER, "bundled", BackbonePreprocessing(size=224, fit="crop", value_range=value_range))
