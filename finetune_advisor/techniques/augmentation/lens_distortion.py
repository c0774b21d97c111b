"""Images through a poor lens."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.augmentation.geometry import Places, bend


class LensDistortion(Augmentation):
    """Bend straight lines outward or inward, as a lens does; the corners stay in place.

    For photographs of many cameras, wide angles among them; wrong where straightness is the label.
    """

    source: ClassVar[str] = "slides: data augmentation (lens distortions); Brown 1966, Decentering Distortion of Lenses"
    not_advised: ClassVar[str] = (
        "`analyze` does not measure whether straightness carries the label; what it brings was not measured."
    )

    kind: Literal["lens_distortion"] = "lens_distortion"
    strength: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """Largest coefficient of the squared radius, which is 1 at the corners, in either direction."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image with the radial distortion r -> r (1 + k r^2) / (1 + k)."""
        k = rng.uniform(-self.strength, self.strength)

        def place(unit_G2: Places) -> Places:
            square_G1 = (unit_G2**2).sum(axis=1, keepdims=True)
            bent_G2: Places = unit_G2 * (1 + k * square_G1) / (1 + k)
            return bent_G2

        return bend(image, place, context)
