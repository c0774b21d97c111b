"""Data sets that a person can picture, measured with the same ruler: what a score of similarity is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

REFERENCES_FILE = Path(__file__).parent / "reference_similarity.yaml"
"""Written by benchmarks/similarity_references.py."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A known data set and how similar to ImageNet it is."""

    name: str
    score: float
    per_stage: Mapping[str, float]


@cache
def references() -> tuple[Reference, ...]:
    """The reference sets of this version, most similar first."""
    rows = yaml.safe_load(REFERENCES_FILE.read_text(encoding="utf-8"))
    found = [Reference(name, row["score"], row["per_stage"]) for name, row in rows.items()]
    return tuple(sorted(found, key=lambda reference: -reference.score))
