"""Preprocessing by the training images' own statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from finetune_advisor.techniques.colors import RGB
from finetune_advisor.techniques.preprocessing.base import AskColors, Preprocessing

_LEAST = 1 / 255
"""A deviation is never taken for smaller than one step of a pixel: images may all have one color in a channel."""


class Data(Preprocessing):
    """Zero-center and scale images with the mean and deviation of the training images' own colors.

    For networks that train from random weights; a pretrained one knows images as it was shown them.
    """

    source: ClassVar[str] = "slides: pre-processing (zero-center the data is necessary for CNN)"
    not_advised: ClassVar[str] = (
        "The advice never trains from random weights, and a pretrained network loses accuracy by other numbers than "
        "its own (see `backbone`)."
    )
    needs_colors: ClassVar[bool] = True

    kind: Literal["data"] = "data"

    def normalization(
        self,
        config: Mapping[str, Any],  # noqa: ARG002
        colors: AskColors | None,
    ) -> tuple[RGB, RGB]:
        """Mean and deviation over all pixels of the training images."""
        assert colors is not None, "settled when the training images are known"
        found = colors()
        red, green, blue = (max(std, _LEAST) for std in found.std)
        return found.mean, (red, green, blue)
