"""What an analysis is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LIMIT = 10_000
"""Images that are looked at unless somebody says otherwise: some minutes on two cores, whatever the size of the data.

The interval of a probe's accuracy on so many images is narrower than one point.
"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """The settings of an analysis; see `analyze`."""

    backbone: str
    weights: str
    size: int
    validation: float
    seed: int
    device: str
    use_cache: bool

    def settings(self) -> tuple[object, ...]:
        """Those that the result depends on; the device because the network is timed on it."""
        return (self.backbone, self.weights, self.size, self.validation, self.seed, self.device)


@dataclass(frozen=True)
class Watch:
    """Who is told about progress, with (done, to do)."""

    images: Progress | None = None
    probes: Progress | None = None
    views: Progress | None = None
