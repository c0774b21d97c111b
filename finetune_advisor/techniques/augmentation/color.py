"""Images in other light and other colors."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance
from pydantic import Field

from finetune_advisor.techniques.augmentation.base import Augmentation, Context
from finetune_advisor.techniques.base import Colors

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)

Amount: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation at random, in random order.

    Wrong where color is the label: ripeness, stains, litmus.
    """

    source: ClassVar[str] = "slides: data augmentation (color jittering)"
    advised: ClassVar[str] = (
        "Where images without color score as before, within 1 point or one standard error, and a probe loses nothing "
        "by learning both; brightness and contrast alone where all images are gray."
    )

    kind: Literal["color_jitter"] = "color_jitter"
    brightness: Amount = 0.2
    """Brightness is multiplied by a number from 1 - this to 1 + this."""
    contrast: Amount = 0.2
    """Distance from the mean gray, likewise."""
    saturation: Amount = 0.2
    """Distance from the image's own grays, likewise."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:  # noqa: ARG002
        """The image under another light."""
        amounts = (self.brightness, self.contrast, self.saturation)
        order = rng.permutation(3).tolist()
        factors = [1 + rng.uniform(-amounts[index], amounts[index]) for index in order]
        for index, factor in zip(order, factors, strict=True):
            image = _ENHANCERS[index](image).enhance(factor)
        return image


class FancyPca(Augmentation):
    """Add to all pixels a random color along the principal components of the training images' colors.

    One draw per image: light and color change together, as daylight does, and objects keep their contrasts.
    """

    source: ClassVar[str] = (
        "slides: data augmentation (fancy PCA); Krizhevsky, Sutskever and Hinton 2012, ImageNet Classification"
    )
    not_advised: ClassVar[str] = (
        "Where color does not carry the label, `color_jitter` is advised; which of the two is better was not measured."
    )
    needs_colors: ClassVar[bool] = True
    kind: Literal["fancy_pca"] = "fancy_pca"
    sigma: Annotated[float, Field(gt=0, le=3)] = 0.1
    """Standard deviation of each alpha."""

    def apply(self, image: Image.Image, rng: np.random.Generator, context: Context) -> Image.Image:
        """The image with the same offset at every pixel."""
        assert context.colors is not None, "fancy_pca is given the colors of the training images"
        offset_C = self.offset(context.colors, rng)
        shifted_HWC = np.asarray(image, dtype=np.float32) + 255 * offset_C.astype(np.float32)
        return Image.fromarray(shifted_HWC.round().clip(0, 255).astype(np.uint8))

    def offset(self, colors: Colors, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """[p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T on the scale 0..1, red first (3,).

        p and l are eigenvectors and eigenvalues of the covariance of RGB values, each a ~ N(0, sigma).
        """
        value_C, vector_CC = np.linalg.eigh(np.array(colors.covariance))
        offset_C: npt.NDArray[np.float64] = vector_CC @ (rng.normal(0, self.sigma, size=3) * value_C)
        return offset_C
