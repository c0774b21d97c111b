"""What a run tells whoever watches it; the default watcher says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.artifacts.history import Record


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
