"""The labeled images of a data set, before any of them is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labeled image.

    Attributes:
        path: absolute path of the file.
        name: path relative to the root with forward slashes, as people see it and splits.csv stores it.
        label: index into the listing's `classes`.
        split: the part it belongs to, or None as long as nobody has split the images.
    """

    path: Path
    name: str
    label: int
    split: Split | None


@dataclass(frozen=True, slots=True)
class Listing:
    """All samples of a data set, in an order that depends on nothing but their names.

    Attributes:
        root: absolute path of the folder the names are relative to.
        classes: class names; a sample's label is an index into them.
        samples: the labeled images.
        ignored: names of files that were left out because they are not images or stand in no class folder.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    ignored: tuple[str, ...]

    def part(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one split, in order."""
        return tuple(sample for sample in self.samples if sample.split == split)
