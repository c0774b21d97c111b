"""What a run tells whoever watches it, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from finetune_advisor.records.history import Record


@dataclass(frozen=True)
class Progress:
    """One step done."""

    step: int
    steps: int
    loss: float
    """Mean training loss since the last evaluation."""
    images_per_second: float


class Watcher:
    """Told about the progress of a run; override what you want to see."""

    def on_images(self, done: int, total: int) -> None:
        """Images measured by the frozen network."""

    def on_cached(self, done: int, total: int) -> None:
        """Views of images whose way through the frozen part is computed ahead."""

    def on_folder(self, folder: Path) -> None:
        """The run folder is there, and from now on the run can be resumed."""

    def on_step(self, progress: Progress) -> None:
        """A step of training."""

    def on_record(self, record: Record) -> None:
        """An evaluation, or a probe's strength."""

    def on_refit(self, images: int) -> None:
        """Training begins again, on so many images of training and validation together."""


class Told(Watcher):
    """A watcher, and someone else who is told of every record."""

    def __init__(self, watcher: Watcher, on_record: Callable[[Record], None]) -> None:
        self._watcher = watcher
        self._tell = on_record

    def on_images(self, done: int, total: int) -> None:
        self._watcher.on_images(done, total)

    def on_cached(self, done: int, total: int) -> None:
        self._watcher.on_cached(done, total)

    def on_folder(self, folder: Path) -> None:
        self._watcher.on_folder(folder)

    def on_step(self, progress: Progress) -> None:
        self._watcher.on_step(progress)

    def on_record(self, record: Record) -> None:
        self._tell(record)
        self._watcher.on_record(record)

    def on_refit(self, images: int) -> None:
        self._tell = _nobody  # another curve, which would lie over the first one
        self._watcher.on_refit(images)


def _nobody(record: Record) -> None:
    """Somebody who need not be told."""


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
