"""Shifted images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from finetune_advisor.techniques.augmentation.geometry import Affine, Matrix


class Translation(Affine):
    """Shift the image by a random share of its sides.

    For objects that stand anywhere; a crop already does this, so it is of use where crops are off.
    """

    source: ClassVar[str] = "slides: data augmentation (translation)"
    not_advised: ClassVar[str] = (
        "A crop shifts as well. Where crops are off, what they cut off is missed, and a shift would cut it off too."
    )

    kind: Literal["translation"] = "translation"
    share: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest shift, of the width and of the height, in either direction."""

    def matrix(self, rng: np.random.Generator, width: int, height: int) -> Matrix:
        """A shift along both sides."""
        right, down = rng.uniform(-self.share, self.share, size=2)
        return np.array([[1, 0, right * width], [0, 1, down * height], [0, 0, 1]])
