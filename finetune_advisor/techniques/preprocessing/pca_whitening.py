"""Images of which no pixel can be foretold from the others.

Shapes: D numbers of an image (channels x height x width).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from finetune_advisor.techniques.colors import RGB
from finetune_advisor.techniques.preprocessing.base import AskColors, Preprocessing

FloatArray = npt.NDArray[np.float64]


class PcaWhitening(Preprocessing):
    """Rotate images onto their principal components, divide each by its deviation, and rotate back.

    The slides warn: it exaggerates noise. Components that hardly vary, which are noise, come out as large as those that
    carry the image; a larger epsilon holds them down. Not used for CNNs today. It is for small images and networks that
    train from random weights; the rotation back (ZCA) leaves pixels in their places, as a convolution needs them.
    """

    source: ClassVar[str] = (
        "slides: pre-processing (PCA-whitening); Krizhevsky 2009, Learning Multiple Layers of Features"
    )
    not_advised: ClassVar[str] = (
        "The advice never trains from random weights, and no pretrained network knows whitened images."
    )
    needs_colors: ClassVar[bool] = True
    suits_pretrained: ClassVar[bool] = False

    kind: Literal["pca_whitening"] = "pca_whitening"
    size: Annotated[int, Field(ge=16, le=48)] = 32
    """Side of the square input, in pixels; the work grows with its sixth power."""
    epsilon: Annotated[float, Field(gt=0)] = 1e-5
    """Added to every variance before the division, on the scale of pixels from 0 to 1."""

    def normalization(
        self,
        config: Mapping[str, Any],  # noqa: ARG002
        colors: AskColors | None,
    ) -> tuple[RGB, RGB]:
        """The mean color alone: the whitening itself gives every direction its unit variance."""
        assert colors is not None, "settled when the training images are known"
        return colors().mean, (1.0, 1.0, 1.0)

    def matrix(self, covariance_DD: FloatArray) -> FloatArray:
        """U diag(1 / sqrt(S + epsilon)) U^T, U and S the eigenvectors and eigenvalues of the covariance (D, D)."""
        value_D, vector_DD = np.linalg.eigh(covariance_DD)
        scale_D = 1 / np.sqrt(value_D.clip(min=0) + self.epsilon)
        whitening_DD: FloatArray = (vector_DD * scale_D) @ vector_DD.T
        return whitening_DD
