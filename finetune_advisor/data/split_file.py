"""splits.csv: which image was on which side and which are relatives, so that a run can be continued or compared."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.data.sources import Listing, Split
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import DataError

_COLUMNS = ["path", "label", "split", "group"]
_WITHOUT_GROUPS = _COLUMNS[:3]
"""As a person writes such a table, and as runs did before relatives were noted."""
_SPLITS: Mapping[str, Split] = {"train": "train", "val": "val", "test": "test"}

SavedSplits = Mapping[str, tuple[str, Split]]
"""Class name and split of each image, by the image's name."""


def save_splits(listing: Listing, path: str | Path, *, family_N: npt.NDArray[np.integer] | None = None) -> None:
    """Write path, label, split and group of every sample as CSV, whole or not at all.

    Args:
        family_N: samples with the same number are relatives, copies or of one group, and get a group of that number;
            one that stands alone gets none. None: nobody has any.

    Raises:
        StorageError: the file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    group_N = [""] * len(listing.samples) if family_N is None else _groups(family_N)
    for sample, group in zip(listing.samples, group_N, strict=True):
        assert sample.split is not None, f"{sample.name} is saved before it is split"
        rows.writerow([sample.name, listing.classes[sample.label], sample.split, group])
    atomic_write(path, text.getvalue().encode(errors="surrogateescape"))


def _groups(family_N: npt.NDArray[np.integer]) -> list[str]:
    """The name of each sample's family, empty for one that is its only member."""
    _, place_N, count_F = np.unique(family_N, return_inverse=True, return_counts=True)
    return [str(family) if count_F[place] > 1 else "" for family, place in zip(family_N, place_N, strict=True)]


def load_splits(path: str | Path) -> SavedSplits:
    """Read what `save_splits` wrote: image name -> (class name, split).

    Raises:
        DataError: the file is missing, cannot be read, or is not such a table.
    """
    return {name: (label, split) for name, (label, split, _) in _rows(path).items()}


def load_groups(path: str | Path) -> Mapping[str, str]:
    """Read what `save_splits` wrote: name of an image that has relatives -> its group.

    Raises:
        DataError: see `load_splits`.
    """
    return {name: group for name, (_, _, group) in _rows(path).items() if group}


def group_ids(names: Sequence[str], groups: Mapping[str, str]) -> npt.NDArray[np.intp]:
    """The number of the group of each image (N,); images that no group is noted for stand alone.

    Args:
        names: of the images.
        groups: what `load_groups` read.
    """
    number: dict[tuple[bool, str], int] = {}
    keys = [(True, groups[name]) if name in groups else (False, name) for name in names]
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.intp)


def _rows(path: str | Path) -> Mapping[str, tuple[str, Split, str]]:
    """Image name -> (class name, split, group)."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        hint = "It says which images did not train a run; without it the run is not whole."
        raise DataError(f"{path} cannot be read: {error.strerror}.", hint) from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    saved: dict[str, tuple[str, Split, str]] = {}
    try:
        header = next(rows, [])
        if header not in (_COLUMNS, _WITHOUT_GROUPS):
            raise _malformed(path, 1, f"the columns are {', '.join(header) or 'missing'}")
        for row in rows:
            if len(row) != len(header) or row[2] not in _SPLITS or row[0] in saved:
                raise _malformed(path, rows.line_num, f"found {','.join(row)!r}")
            saved[row[0]] = (row[1], _SPLITS[row[2]], row[3] if len(row) > len(_WITHOUT_GROUPS) else "")
    except csv.Error as error:
        raise _malformed(path, rows.line_num, str(error)) from error
    return saved


def apply_splits(listing: Listing, saved: SavedSplits) -> Listing:
    """Split a listing as it was saved; the images and their labels have to be the same as then.

    Raises:
        DataError: images vanished, are new, or changed their class; they are listed.
    """
    label_name = {sample.name: listing.classes[sample.label] for sample in listing.samples}
    problems = [
        *_problem("gone", (name for name in saved if name not in label_name)),
        *_problem("new", (name for name in label_name if name not in saved)),
        *_problem(
            "in another class",
            (
                f"{name} ({saved[name][0]} -> {label})"
                for name, label in label_name.items()
                if name in saved and saved[name][0] != label
            ),
        ),
    ]
    if problems:
        raise DataError(
            f"The images in {listing.source} changed since they were split: {'; '.join(problems)}.",
            "Restore them to continue, or start a new run.",
        )
    samples = tuple(replace(sample, split=saved[sample.name][1]) for sample in listing.samples)
    return replace(listing, samples=samples)


def _problem(what: str, names: Iterable[str]) -> list[str]:
    found = list(names)
    return [f"{counted(len(found), 'image')} {what}: {listed(found)}"] if found else []


def _malformed(path: str | Path, line: int, found: str) -> DataError:
    return DataError(
        f"{path}, line {line}: {found}.",
        f"Expected the columns {','.join(_COLUMNS)}, each path once, and as split train, val or test.",
    )
