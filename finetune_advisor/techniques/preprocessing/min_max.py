"""Pixels on the scale from -1 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from finetune_advisor.techniques.colors import RGB
from finetune_advisor.techniques.preprocessing.base import AskColors, Preprocessing


class MinMax(Preprocessing):
    """Scale pixels so that black is -1 and white is 1.

    The slides: not strictly necessary for images, whose channels have one scale already.
    """

    source: ClassVar[str] = "slides: pre-processing (making the min and max along the dimension be -1 and 1)"
    not_advised: ClassVar[str] = (
        "The advice never trains from random weights, and a pretrained network loses accuracy by other numbers than "
        "its own (see `backbone`)."
    )

    kind: Literal["min_max"] = "min_max"

    def normalization(
        self,
        config: Mapping[str, Any],  # noqa: ARG002
        colors: AskColors | None,  # noqa: ARG002
    ) -> tuple[RGB, RGB]:
        """The middle of the scale 0..1, and half its width."""
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
