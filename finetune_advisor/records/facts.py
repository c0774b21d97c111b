"""What the values of a profile have in common, and the speed of a network on a machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from finetune_advisor.errors import FinetuneAdvisorError
from finetune_advisor.storage.files import atomic_write, first_problem


def legible(name: str) -> str:
    """A name as a profile writes it: bytes that are not UTF-8, which JSON cannot carry, as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _legible(name: object) -> object:
    return legible(name) if isinstance(name, str) else name


Name = Annotated[str, BeforeValidator(_legible)]
"""A name on the disk. Bytes that are not UTF-8, which JSON cannot carry, are written as escapes."""


class Fact(BaseModel):
    """A frozen value that is part of a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Document(Fact):
    """A fact that is a JSON file of its own."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            StorageError: the file cannot be written.
        """
        atomic_write(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def _read(
        cls, path: Path, *, missing: FinetuneAdvisorError, damaged: Callable[[str], FinetuneAdvisorError]
    ) -> Self:
        """Read what `save` wrote.

        Args:
            missing: raised where there is no file.
            damaged: makes what is raised where the file is damaged or of another version, from what is wrong.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise missing from None
        except ValidationError as problem:
            raise damaged(first_problem(problem)) from problem
        except UnicodeDecodeError as problem:
            raise damaged(str(problem)) from problem


class Speed(Fact):
    """Measured on a few images where the analysis was made; what the time of a run there follows from."""

    device: str
    forward: dict[str, float]
    """Stage -> seconds an image, first to last; the last one holds the classifier."""
    backward: float
    """Seconds of the backward pass through a stage over those of the forward pass."""
    decoding: float
    """Seconds an image in one process."""
