"""The seam of preprocessing: from a backbone's configuration to what is done to each image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from finetune_advisor.techniques.base import Technique
from finetune_advisor.techniques.colors import RGB, Colors
from finetune_advisor.techniques.preprocessing.settings import Fit, Preprocess, ValueRange

AskColors = Callable[[], Colors]
"""The colors of the training images, which are looked at when this is called."""


class Preprocessing(Technique):
    """How a decoded image becomes the network's input."""

    needs_colors: ClassVar[bool] = False
    """Whether it asks for the colors of the training images: then it is settled only when they are known."""
    suits_pretrained: ClassVar[bool] = True
    """Whether a pretrained network can make anything of such images."""

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square input, in pixels."""
    fit: Fit = "crop"
    """How a rectangle becomes a square: crop the center, pad, or stretch."""
    interpolation: Literal["backbone", "bicubic", "bilinear", "lanczos", "nearest"] = "backbone"
    """The filter of every resize; `backbone` takes that of the pretraining."""
    value_range: ValueRange | None = None
    """Values that become black and white in images of over 8 bits; null: 8-bit images."""

    @field_validator("value_range")
    @classmethod
    def _value_range_is_a_range(cls, value_range: ValueRange | None) -> ValueRange | None:
        if value_range is not None and not value_range[0] < value_range[1]:
            raise ValueError(f"expected [black, white] with black < white, found {list(value_range)}")
        return value_range

    @abstractmethod
    def normalization(self, config: Mapping[str, Any], colors: AskColors | None) -> tuple[RGB, RGB]:
        """Mean and deviation of each channel, on the scale 0..1, that the pixels are normalized with."""

    def resolve(self, config: Mapping[str, Any], colors: AskColors | None = None) -> Preprocess:
        """Every number that preprocessing needs.

        Args:
            config: timm's `pretrained_cfg` of the backbone.
            colors: of the training images; where `needs_colors` they must be there.

        Raises:
            KeyError: `config` lacks a number.
        """
        mean, std = self.normalization(config, colors)
        interpolation = config["interpolation"] if self.interpolation == "backbone" else self.interpolation
        return Preprocess(
            size=self.size,
            fit=self.fit,
            crop_pct=config["crop_pct"],
            interpolation=interpolation,
            mean=mean,
            std=std,
            value_range=self.value_range,
        )
