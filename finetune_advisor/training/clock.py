"""How long a run takes, over all its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds spent on looking at the images and building the network, and on training and scoring."""

    images: float = 0.0
    training: float = 0.0

    @property
    def total(self) -> float:
        return self.images + self.training

    def as_json(self) -> dict[str, float]:
        return {"images": self.images, "training": self.training, "total": self.total}


class Clock:
    """Runs from its making; `earlier` is what the checkpoint of a resumed run tells of its parts before."""

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self.earlier = Spent()
        self.now = now
        self._start = now()
        self._ready: float | None = None

    def images_done(self) -> None:
        """From now on the time is that of training."""
        self._ready = self.now()

    def spent(self) -> Spent:
        """Seconds up to now, earlier parts included."""
        assert self._ready is not None, "the images come first"
        images, training = self._ready - self._start, self.now() - self._ready
        return Spent(self.earlier.images + images, self.earlier.training + training)
