"""Preprocessing as the backbone was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from finetune_advisor.techniques.colors import RGB
from finetune_advisor.techniques.preprocessing.base import AskColors, Preprocessing


class Backbone(Preprocessing):
    """Zero-center and scale images with the mean and deviation of the backbone's pretraining.

    The choice for every pretrained network. The fraction kept by the center crop comes from the backbone as well.
    """

    source: ClassVar[str] = "slides: pre-processing (zero-center the data); timm's pretrained_cfg"
    advised: ClassVar[str] = (
        "Always: the advice trains pretrained networks, which know images as the pretraining showed them."
    )
    measured: ClassVar[str] = (
        "Of 1,000 photographs of ImageNet, one a class, the bundled tf_efficientnet_lite0 recognizes 88.3 % with its "
        "own mean and deviation, and 77.9 %, without any error message, with those that most networks of timm take."
    )

    kind: Literal["backbone"] = "backbone"

    def normalization(
        self,
        config: Mapping[str, Any],
        colors: AskColors | None,  # noqa: ARG002
    ) -> tuple[RGB, RGB]:
        """The backbone's `mean` and `std`."""
        return tuple(config["mean"]), tuple(config["std"])
