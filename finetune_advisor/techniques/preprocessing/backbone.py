"""Preprocessing as the backbone was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from finetune_advisor.techniques.preprocessing.base import Preprocessing
from finetune_advisor.techniques.preprocessing.settings import Preprocess


class Backbone(Preprocessing):
    """Normalize and resample images the way the backbone's pretraining did.

    Mean, deviation, interpolation and the fraction kept by the center crop come from the backbone, not from the
    recipe: with the wrong ones a good network loses ten points of accuracy without any error.
    """

    source: ClassVar[str] = "slides: pre-processing (zero-center the data); timm's pretrained_cfg"

    kind: Literal["backbone"] = "backbone"
    size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square input, in pixels."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How a rectangle becomes a square: crop the center, pad, or stretch."""

    def resolve(self, config: Mapping[str, Any]) -> Preprocess:
        """The recipe's size and fit, with the backbone's `mean`, `std`, `interpolation` and `crop_pct`.

        Raises:
            KeyError: `config` is not a timm `pretrained_cfg`.
        """
        return Preprocess(
            size=self.size,
            fit=self.fit,
            crop_pct=config["crop_pct"],
            interpolation=config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )
