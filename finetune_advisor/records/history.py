"""What happened during a run: one Record a line in `history.jsonl`, appended as it happens.

Source: slides, initialization (calibrating the variances; small numbers diminish the gradient signal).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_advisor.errors import RunError
from finetune_advisor.storage.files import atomic_write, first_problem, storage_errors

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True)
class Record:
    """One evaluation. A probe has one Record per strength tried; what does not apply is None."""

    step: int
    epoch: float
    lr: dict[str, float] | None
    """Learning rate of each parameter group."""
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    images_per_second: float | None
    seconds: float
    """Since the run (or this part of it, after a resume) began."""
    strength: float | None = None
    """L2 strength of a probe."""
    chosen: bool = False
    """Whether the probe was then fitted with this strength."""
    events: tuple[str, ...] = ()
    """What went wrong since the last evaluation, and what was done about it."""
    loss_noise: float | None = None
    """Standard deviation of a batch's training loss around its trend."""
    update_ratio: dict[str, float] | None = None
    """Norm of a step over that of the weights it moved, for each group with decay, in the middle of the epoch."""


def summary(record: Record) -> str:
    """A record in one line, for the terminal and the log."""
    if record.strength is not None:
        scores = f"accuracy {record.val_accuracy:.3f}, loss {record.val_loss:.3f}"
        return f"strength {record.strength:<8g} out of fold: {scores}{'  ← chosen' if record.chosen else ''}"
    line = f"epoch {record.epoch:5.1f}  train loss {record.train_loss:.3f}  acc {record.train_accuracy:.3f}"
    if record.val_loss is not None:
        line += f"  val loss {record.val_loss:.3f}  acc {record.val_accuracy:.3f}"
    return f"{line}  {record.images_per_second:.0f} images/s" if record.images_per_second else line


def append_record(path: Path, record: Record) -> None:
    """Write one line and wait until it is on the disk, so that a power cut does not take it back.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    with storage_errors(path), path.open("a", encoding="utf-8") as stream:
        stream.write(_line(record))
        stream.flush()
        os.fsync(stream.fileno())


def save_history(path: Path, records: Iterable[Record]) -> None:
    """Replace the whole history, atomically: what a resume does with records past its checkpoint."""
    atomic_write(path, "".join(map(_line, records)))


def load_history(path: Path) -> tuple[Record, ...]:
    """Read every complete record; a last line that a crash cut short is left out.

    Raises:
        RunError: a line in the middle is damaged, or one is not a record.
    """
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise RunError(f"{path} is damaged: it is not text ({problem}).") from problem
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(line))
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise RunError(f"{path}:{number} is damaged: it is not a JSON record.") from None
        except ValueError as problem:
            raise RunError(f"{path}:{number} is damaged: it is not a record of this version ({problem}).") from problem
    if len({record.strength is None for record in records}) > 1:
        raise RunError(f"{path} is damaged: only some of its records are of a probe.")
    return tuple(records)


def _record(line: str) -> Record:
    """A line read; what is not finite is None, as a later write would have it.

    Raises:
        JSONDecodeError: it is cut short.
        ValueError: it is no record.
    """
    from pydantic import ValidationError

    values = json.loads(line)
    try:
        return _records().validate_python(_finite(values) if isinstance(values, dict) else values)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


@cache
def _records() -> TypeAdapter[Record]:
    # Not above: a command that reads no history answers sooner without it.
    from pydantic import TypeAdapter

    return TypeAdapter(Record)


def _line(record: Record) -> str:
    return json.dumps(_finite(asdict(record)), allow_nan=False) + "\n"


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can say: a value that is not finite is None, and one of a group of parameters is left out."""
    found = {key: None if _is_infinite(value) else value for key, value in values.items()}
    for key in ("lr", "update_ratio"):
        group = found.get(key)
        if isinstance(group, dict):
            found[key] = {name: value for name, value in group.items() if not _is_infinite(value)}
    return found


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


@dataclass(frozen=True, slots=True)
class RangeTest:
    """Loss of a step at each rate of a rising series; rates are those of the new classifier, `optimizer.lr`."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed over neighboring steps."""
    steepest: float | None
    """Rate at which the loss falls fastest; None where it never falls."""
    tenth_of_lowest: float | None
    """A tenth of the rate at which the loss is lowest."""
    diverged: bool
    """Whether the loss exploded before the largest rate."""

    @property
    def suggestion(self) -> float | None:
        """The smaller of both: a rate that is too low costs time, one that is too high costs the pretrained layers."""
        if self.steepest is None or self.tenth_of_lowest is None:
            return None
        return min(self.steepest, self.tenth_of_lowest)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "suggestion": self.suggestion}


VANISHED, EXPLODED = 1e-3, 1e3
"""Variance of the last layer below the classes over that of the first, from which on training is in danger."""


@dataclass(frozen=True, slots=True)
class LayerSignal:
    """A convolution or linear layer, in the order of the network, and the variance of what it puts out."""

    layer: str
    variance: float


def signal_sentence(signal: Sequence[LayerSignal]) -> str:
    """What happens to the variance between the first layer and the last one below the classes."""
    first, last = signal[0], signal[-2 if len(signal) > 1 else -1]
    told = f"outputs vary by {first.variance:.2g} at {first.layer} and {last.variance:.2g} at {last.layer}"
    ratio = last.variance / first.variance if first.variance > 0 else 0.0
    if ratio < VANISHED:
        return f"{told}: it vanishes on its way; choose another initialization, such as he or unit_variance"
    if not ratio <= EXPLODED:
        return f"{told}: it explodes on its way; choose another initialization, such as he or unit_variance"
    return f"{told}: it gets through"
