"""An ensemble: which models became one, how much each counts, what that gains and costs; and the forms of export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from finetune_advisor.errors import RunError
from finetune_advisor.records.facts import Document, Fact, Name


class EnsembleMember(Fact):
    name: Name
    source: Name
    """Folder of the run it is from."""
    weight: float
    """Share of its answers or weights in the ensemble; 0 for one that was not chosen."""
    accuracy: float
    """On the held-out images that members are chosen by."""
    log_loss: float


class Gain(Fact):
    """How much more accurate the ensemble is than the best single member, on the same images."""

    split: Literal["test", "val"]
    images: int
    accuracy: float
    best: Name
    """The member that is most accurate on the held-out images."""
    best_accuracy: float
    gain: float
    low: float
    high: float
    """95 % interval of the gain, paired bootstrap over groups of images."""
    groups: int | None = None
    """Groups of these images; None in ensembles of earlier versions."""


class Cost(Fact):
    """Seconds for one image, decoding aside, in batches on the device of the ensembling."""

    seconds: float
    best_seconds: float
    times: float
    """How many times as long as the best single member."""


class Ensemble(Document):
    """What `ensemble.json` holds."""

    format: Literal[1] = 1
    kind: str
    settings: dict[str, Any]
    held_out: int
    """Images that members were chosen by; 0 where nothing was chosen."""
    members: tuple[EnsembleMember, ...]
    gain: Gain
    cost: Cost

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RunError: there is no ensemble, or it is damaged.
        """
        return cls._read(
            path,
            missing=RunError(f"{path.parent} holds no finished ensemble: {path.name} is missing."),
            damaged=lambda problem: RunError(f"{path} is damaged: {problem}"),
        )


class ExportForm(StrEnum):
    """What `export --format` takes."""

    safetensors = "safetensors"
    onnx = "onnx"
    hub = "hub"
