"""The fitted numbers that the advice rests on, read from `calibration.yaml` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Amount(_Values):
    plenty_per_class: float


class SimilarityBorder(_Values):
    similar: float


class Calibration(_Values):
    """Borders of the table; the file says where they come from."""

    amount: Amount
    similarity: SimilarityBorder


@cache
def calibration() -> Calibration:
    """The calibration that ships with this version."""
    text = (Path(__file__).parent / "calibration.yaml").read_text(encoding="utf-8")
    return Calibration.model_validate(yaml.safe_load(text))
