"""Preprocessing as the backbone was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from finetune_advisor.techniques.colors import RGB
from finetune_advisor.techniques.preprocessing.base import AskColors, Preprocessing


class Backbone(Preprocessing):
    """Zero-center and scale images with the mean and deviation of the backbone's pretraining.

    With the wrong numbers a good network loses ten points of accuracy without any error. The fraction kept by the
    center crop comes from the backbone as well.
    """

    source: ClassVar[str] = "slides: pre-processing (zero-center the data); timm's pretrained_cfg"

    kind: Literal["backbone"] = "backbone"

    def normalization(
        self,
        config: Mapping[str, Any],
        colors: AskColors | None,  # noqa: ARG002
    ) -> tuple[RGB, RGB]:
        """The backbone's `mean` and `std`."""
        return tuple(config["mean"]), tuple(config["std"])
