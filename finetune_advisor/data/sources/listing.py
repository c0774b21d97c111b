"""The labeled images of a data set, before any of them is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]

SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "evaluation": "val",
    "test": "test",
    "testing": "test",
}
"""What people call the splits, in lower case."""

ClassFolders = Literal["outer", "inner"]
"""Which folders are the classes where two levels could be: those directly in the data folder (or in train/), or those
inside them."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a person says about how a data set is to be read; the defaults are the usual rules.

    Attributes:
        group: column that says which images belong together; None takes the column `group` where there is one.
        path_column, label_column: columns of a table with the paths and the classes; None takes one of the usual names.
        merge_classes: make one class of those whose names differ only in case, blanks, the encoding of accents, or the
            way a number is written.
        class_folders: which level of folders are the classes; None asks where two levels could be.
    """

    group: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    merge_classes: bool = False
    class_folders: ClassFolders | None = None


USUAL = Reading()
"""The usual rules."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labeled image. A million of them fit into memory: text is kept, paths are made when asked for.

    Attributes:
        root: absolute path of the folder the name is relative to; all samples of a listing share it.
        name: path relative to the root with forward slashes, or an absolute one where the person wrote it so; this is
            what people see and splits.csv stores.
        label: index into the listing's `classes`.
        split: the part it belongs to, or None as long as nobody has split the images.
        group: images of the same patient or scene share it; None: the image stands alone.
    """

    root: str
    name: str
    label: int
    split: Split | None
    group: str | None = None

    @property
    def path(self) -> Path:
        """Absolute path of the file."""
        return Path(self.root, self.name)


@dataclass(frozen=True, slots=True)
class Listing:
    """All samples of a data set, in an order that depends on nothing but their names.

    Attributes:
        root: absolute path of the folder the names are relative to.
        source: what opens the same data again: the absolute path of a folder, manifest or archive, or `hf:NAME`.
        classes: class names; a sample's label is an index into them.
        samples: the labeled images.
        ignored: names of files that were left out because they are not images or stand in no class folder.
        notes: sentences about what was read otherwise than a person may expect, such as rows that were left out.
        reading: how the data was read, as the person asked for it.
        packed: what the images were unpacked from, where the root lies in the cache: the absolute path of an archive or
            of a folder in it, that of a saved data set, or `hf:NAME`. A table names an image `packed/name`.
        group_column: what the column is called whose values are the samples' groups; None where there is none.
    """

    root: Path
    source: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()
    reading: Reading = USUAL
    packed: str | None = None
    group_column: str | None = None

    def part(self, split: Split) -> tuple[Sample, ...]:
        """The samples of one split, in order."""
        return tuple(sample for sample in self.samples if sample.split == split)
