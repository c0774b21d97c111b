"""What preprocessing comes down to: the numbers that turn any image into a net's input."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from finetune_advisor.techniques.colors import RGB

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
