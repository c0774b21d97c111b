"""How long a run takes, over all its parts."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds spent on looking at the images and building the network, and on training and scoring."""

    images: float = 0.0
    training: float = 0.0

    def as_json(self) -> dict[str, float]:
        return {"images": self.images, "training": self.training, "total": self.images + self.training}


class Clock:
    """Runs from its making; `earlier` is what the checkpoint of a resumed run tells of its parts before."""

    def __init__(self) -> None:
        self.earlier = Spent()
        self._start = perf_counter()
        self._ready: float | None = None

    def images_done(self) -> None:
        """From now on the time is that of training."""
        self._ready = perf_counter()

    def spent(self) -> Spent:
        """Seconds up to now, earlier parts included."""
        assert self._ready is not None, "the images come first"
        images, training = self._ready - self._start, perf_counter() - self._ready
        return Spent(self.earlier.images + images, self.earlier.training + training)
