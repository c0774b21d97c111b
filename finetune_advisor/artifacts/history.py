"""What happened during a run: one Record a line in `history.jsonl`, appended as it happens."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from finetune_advisor.artifacts.storage import atomic_write, storage_errors
from finetune_advisor.errors import RunError


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


def append_record(path: Path, record: Record) -> None:
    """Write one line and push it to disk.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    with storage_errors(path), path.open("a", encoding="utf-8") as stream:
        stream.write(_line(record))
        stream.flush()


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
    lines = path.read_text(encoding="utf-8").splitlines()
    known = {field.name for field in fields(Record)}
    needed = {field.name for field in fields(Record) if field.default is MISSING}
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise RunError(f"{path}:{number} is damaged: it is not a JSON record.") from None
        if not isinstance(values, dict) or not needed <= values.keys():
            raise RunError(f"{path}:{number} is damaged: it is not a record of this version.")
        records.append(Record(**{key: value for key, value in values.items() if key in known}))
    return tuple(records)


def _line(record: Record) -> str:
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(record).items()
    }
    return json.dumps(finite) + "\n"
