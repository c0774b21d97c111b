"""What the values of a profile have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


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
