"""The fitted numbers that the advice rests on, read from `calibration.yaml` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Values(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Curve(_Values):
    """How the probe's learning curve moves the border of the amount."""

    usual_reduction: Share
    """Share of the probe's errors that ten times the images usually take away."""
    spread_reduction: Positive
    """Standard deviation of that share over data sets."""
    decades_per_reduction: Positive
    """Powers of ten by which the border moves for a whole unit of that share."""


class Amount(_Values):
    """The border between little and plenty."""

    plenty_per_class: Positive
    """Trainable images an effective class, where the learning curve is a usual one."""
    per_decade: Positive
    """Slope of the amount at the border, in logits per power of ten."""
    spread_decades: Positive
    """Standard deviation of the border itself, in powers of ten."""
    curve: Curve


class SimilarityBorder(_Values):
    """The border between similar and different."""

    similar: Share
    spread: Positive
    """Standard deviation of the border itself."""


class Calibration(_Values):
    """Borders of the table and how surely they are known; the file says where they come from."""

    amount: Amount
    similarity: SimilarityBorder


@cache
def calibration() -> Calibration:
    """The calibration that ships with this version."""
    text = (Path(__file__).parent / "calibration.yaml").read_text(encoding="utf-8")
    return Calibration.model_validate(yaml.safe_load(text))
