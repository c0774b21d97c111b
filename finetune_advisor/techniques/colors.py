"""What the training images' colors have in common: known once the images are, and given to techniques that ask."""

from __future__ import annotations

from dataclasses import dataclass

RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Colors:
    """Statistics over all pixels of the training images, on the scale 0..1, red first.

    Attributes:
        mean: of each channel.
        covariance: between the channels, symmetric.
    """

    mean: RGB
    covariance: tuple[RGB, RGB, RGB]

    @property
    def std(self) -> RGB:
        """Standard deviation of each channel."""
        red, green, blue = (self.covariance[channel][channel] ** 0.5 for channel in range(3))
        return red, green, blue
