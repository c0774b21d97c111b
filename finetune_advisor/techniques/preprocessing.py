"""`preprocessing:`, the numbers that turn any image into a network's input.

Shapes: D numbers of an image (channels x height x width).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from finetune_advisor.techniques.base import RGB, Colors, Technique

ValueRange = tuple[float, float]
"""The values that become black (0) and white (255), the first less than the second; others are clipped to them."""

Fit = Literal["crop", "pad", "stretch"]
Interpolation = Literal["bicubic", "bilinear", "lanczos", "nearest"]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes the input of a net: resized, fitted to a square, normalized.

    Attributes:
        size: side of the square the net sees, in pixels.
        fit: `crop` fills the square and cuts what sticks out, `pad` shows the whole image on the mean color,
            `stretch` distorts it.
        crop_pct: share of the resized shorter side that `crop` keeps, in (0, 1]; the other fits ignore it.
        interpolation: the resampling filter of every resize.
        mean: mean of each channel, red first, on the scale 0..1.
        std: standard deviation of each channel, red first, on the scale 0..1.
        value_range: which values of images with more than 8 bits per channel become 0 and 255; those between are
            mapped linearly, those beyond are clipped. Images with 8 bits or fewer stay as they are. None takes the
            whole range of a file's own type and refuses images with values outside it; see `data.color`.
    """

    size: int
    fit: Fit
    crop_pct: float
    interpolation: Interpolation
    mean: RGB
    std: RGB
    value_range: ValueRange | None = None

    def __post_init__(self) -> None:
        assert self.size > 0, self.size
        assert 0 < self.crop_pct <= 1, self.crop_pct
        assert min(self.std) > 0, self.std
        assert self.value_range is None or self.value_range[0] < self.value_range[1], self.value_range

    def key(self) -> str:
        """Text that is the same exactly when the pixels a net sees are the same; part of cache keys."""
        values = asdict(self)
        if self.fit != "crop":
            del values["crop_pct"]
        if self.value_range is None:
            del values["value_range"]
        return " ".join(f"{name}={_exact(value)}" for name, value in sorted(values.items()))


def _exact(value: object) -> str:
    """Shortest text that reads back to the same value: 1 and 1.0 are one number and one text."""
    if isinstance(value, (tuple, list)):
        return ",".join(_exact(part) for part in value)
    return repr(float(value)) if isinstance(value, (int, float)) else str(value)


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


AnyPreprocessing: TypeAlias = Annotated[Backbone | Data | MinMax | PcaWhitening, Field(discriminator="kind")]

__all__ = ["AnyPreprocessing", "Backbone", "Data", "MinMax", "PcaWhitening", "Preprocess", "Preprocessing"]
