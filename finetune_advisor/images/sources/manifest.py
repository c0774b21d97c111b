"""A table of images: `path,label[,split][,group]` as CSV, TSV or Parquet, with all problems of its rows at once."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune_advisor.errors import DataError, did_you_mean
from finetune_advisor.images.sources.listing import SPLIT_WORDS, USUAL, Listing, Reading, Sample, Split, is_missing
from finetune_advisor.images.sources.near_paths import near_path
from finetune_advisor.images.sources.scan import image_suffixes, natural
from finetune_advisor.images.sources.table import (
    GROUPS,
    Table,
    find_label,
    find_path,
    is_there,
    looks_like_split,
    may_be_split,
    named,
    open_table,
    plain,
    split_words,
)
from finetune_advisor.text import counted, listed

log = logging.getLogger(__name__)

_SHOWN = 5
"""Rows that are named for each kind of problem: enough to see the pattern."""


@dataclass
class _Kind:
    rows: int = 0
    first: list[int] = field(default_factory=list)
    words: dict[str, None] = field(default_factory=dict)


@dataclass
class RowProblems:
    """Kinds of problems, each with how many rows have it and the first of them.

    Attributes:
        unit: what a row's number counts: `line` or `row`.
    """

    unit: str
    kinds: dict[str, _Kind] = field(default_factory=dict)

    def add(self, kind: str, number: int) -> None:
        """Note that a row has a problem; `kind` goes on after `3 rows`."""
        found = self.kinds.setdefault(kind, _Kind())
        found.rows += 1
        if len(found.first) < _SHOWN:
            found.first.append(number)

    def add_word(self, kind: str, number: int, word: str) -> None:
        """The same, for a problem with a word that is shown."""
        self.add(kind, number)
        self.kinds[kind].words.setdefault(repr(word))

    def complain(self, path: Path) -> None:
        """Raise one error about everything that was noted, if anything was.

        Raises:
            DataError: something was.
        """
        if not self.kinds:
            return
        lines = "".join(f"\n  {self.sentence(kind)}" for kind in self.kinds)
        words = ", ".join(SPLIT_WORDS)
        hint = "Correct or remove these rows."
        if any(found.words for found in self.kinds.values()):
            hint += f" Known splits, in any case: {words}."
        raise DataError(f"{path} has rows that cannot be used:{lines}", hint)

    def sentence(self, kind: str) -> str:
        """`3 rows without a label (lines 2, 3, 9)`."""
        found = self.kinds[kind]
        more = ", ..." if found.rows > len(found.first) else ""
        unit = self.unit if found.rows == 1 else f"{self.unit}s"
        words = f": {listed(found.words)}" if found.words else ""
        return f"{counted(found.rows, 'row')} {kind}{words} ({unit} {', '.join(map(str, found.first))}{more})"


COLUMNS = "path,label[,split][,group]"
_OUTSIDE = re.compile(r"^(/|[A-Za-z]:)|(^|/)\.\.(/|$)")
"""Paths that may lead out of the folder they are relative to."""
_PLAIN = re.compile(r"^(?!/|\./)(?!.*(//|/\./|\.\./|/$))")
"""Paths that name a file in only one way, as nearly all do; others are brought to one form to find repeats."""
_CHECKED = 2000
"""Files of a manifest that are looked for while it is listed, evenly spread over it: enough to say what is wrong."""
_MOST_VALUES = 20
"""Values of a column from which it is certainly no split."""


@dataclass
class _Columns:
    """Places of the columns that count, and of those that may; `header` names them."""

    header: tuple[str, ...]
    path: int
    label: int
    split: int | None
    group: int | None
    may_split: tuple[int, ...]
    may_group: tuple[int, ...]

    @property
    def places(self) -> list[int]:
        """All of them, the path first."""
        some = (self.label, self.split, self.group, *self.may_split, *self.may_group)
        return list(dict.fromkeys((self.path, *(place for place in some if place is not None))))


@dataclass
class _Rows:
    """What was read so far, a list per column; equal texts are one object."""

    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    cells: dict[int, list[str]] = field(default_factory=dict)
    """Of the columns that may say the split or a group."""
    unlabeled: RowProblems = field(default_factory=lambda: RowProblems("line"))


@dataclass(frozen=True)
class Inside:
    """What all paths of a manifest lead into, and where that was unpacked."""

    prefix: str
    """How the paths begin, with the slash at its end."""
    packed: str
    """See `Listing.packed`."""
    root: Path
    """The folder that the rest of a path is relative to."""


def list_manifest(
    path: Path, reading: Reading = USUAL, *, closed: bool = False, inside: Inside | None = None
) -> Listing:
    """List the images that a manifest names, without opening any.

    - The columns are path and label, or other usual names for these, and optionally split and group, in any order and
      any case; others are passed over.
    - Relative paths start at the manifest's folder. Backslashes are taken for slashes where no file is called so.
    - A split is one of `SPLIT_WORDS`, in any case: in every row or in none. Without a column `split`, one called `set`,
      `is_valid` or the like is read where its values are such words, and a note says so where they are not.
    - Images of a group never straddle an automatic split. A row without a group stands alone.
    - Wholly blank rows are passed over; a note counts the rows without a label, which are left out. A file that is
      missing stays in the listing, for it is reported with the unreadable ones; when all are missing the paths are
      wrong.

    Args:
        path: absolute path of the manifest.
        reading: which columns are used.
        closed: refuse paths that lead out of the manifest's folder, as for one that came in an archive.
        inside: what every path leads into, such as an archive; None where the images are files.

    Raises:
        DataError: the table cannot be read or lacks a column; or rows cannot be used, every kind of problem at once.
    """
    table = open_table(path)
    columns = _columns(table, reading)
    root = str(inside.root if inside else path.parent)
    problems = RowProblems(table.unit)
    prefix = inside.prefix if inside else ""
    rows = _read(table, columns, root, problems, closed=closed or inside is not None, prefix=prefix)
    notes: list[str] = []
    splits = _splits(rows, columns, problems, notes)
    problems.complain(path)
    if not rows.names:
        if rows.unlabeled.kinds:
            raise DataError(
                f"No row of {path} has a label in the column {columns.header[columns.label]!r}.",
                "Images without labels are for `finetune-advisor predict`. Another column: --label-column.",
            )
        raise DataError(f"{path} has a header but no rows.", "Expected a row for each image.")
    classes = tuple(sorted(rows.classes, key=natural))
    place = {name: label for label, name in enumerate(classes)}
    label_of = [place[name] for name in rows.classes]
    samples = [
        Sample(root, name, label_of[label], split, group)
        for name, label, split, group in zip(rows.names, rows.labels, splits, rows.groups, strict=True)
    ]
    samples.sort(key=lambda sample: natural(sample.name))
    notes += [f"{rows.unlabeled.sentence(kind)} left out of {path.name}." for kind in rows.unlabeled.kinds]
    notes += _group_notes(rows, columns)
    notes += _missing_files(path, samples)
    return Listing(
        root=Path(root),
        source=str(path),
        classes=classes,
        samples=tuple(samples),
        ignored=(),
        notes=tuple(notes),
        packed=inside.packed if inside else None,
        group_column=None if columns.group is None else columns.header[columns.group],
    )


def first_path(path: Path, reading: Reading = USUAL) -> str | None:
    """The first path that a manifest holds, with forward slashes; None where it has no rows or is no manifest.

    Raises:
        DataError: it cannot be read.
    """
    table = open_table(path)
    if reading.path_column is not None and not is_there(table.header, reading.path_column):
        return None  # what is missing is named where the manifest is listed
    place = find_path(table.header, reading.path_column, path)
    if place is None:
        return None
    _, cells = next(table.rows([place]), (0, None))
    return cells[0].replace("\\", "/") if cells else None


def is_manifest(path: Path, reading: Reading = USUAL) -> bool:
    """Whether a table is a manifest: with the columns path and label, or with others for them and the first file there.

    Raises:
        DataError: it cannot be read.
    """
    table = open_table(path)
    if {"path", "label"} <= {name.casefold() for name in table.header}:
        return True
    given = [name for name in (reading.path_column, reading.label_column) if name is not None]
    if not all(is_there(table.header, name) for name in given):
        return False
    name, label = (
        find_path(table.header, reading.path_column, path),
        find_label(table.header, reading.label_column, path),
    )
    if name is None or label is None or name == label:
        return False
    first = next((cells for _, cells in table.rows([name]) if cells is not None), None)
    return first is not None and (path.parent / first[0].replace("\\", "/")).is_file()


def _columns(table: Table, reading: Reading) -> _Columns:
    """Where the columns that count stand."""
    header, path = table.header, table.path
    names, labels = find_path(header, reading.path_column, path), find_label(header, reading.label_column, path)
    if names is None or labels is None or names == labels:
        raise _missing_columns(table, [word for word, place in (("path", names), ("label", labels)) if place is None])
    for place, usual in ((names, "path"), (labels, "label")):
        if header[place].casefold() != usual:
            log.info("%s: the %s is in the column %r", path.name, usual, header[place])
    lower = [name.casefold() for name in header]
    split = named(header, "split", path, "with splits") if "split" in lower and "split" not in _given(reading) else None
    group = reading.group or ("group" if "group" in lower and "group" not in _given(reading) else None)
    grouped = None if group is None else named(header, group, path, "to group by")
    if group is not None and reading.group is None:
        log.info("images with the same value in column %r stay together", group)
    used = {names, labels, split, grouped}
    free = [place for place in range(len(header)) if place not in used]
    may_split = tuple(place for place in free if split is None and may_be_split(header[place]))
    may_group = tuple(place for place in free if grouped is None and plain(header[place]) in GROUPS)
    passed_over = [header[place] for place in free if header[place] and place not in {*may_split, *may_group}]
    if passed_over:
        log.info("columns of %s that are passed over: %s", path.name, listed(passed_over))
    return _Columns(header, names, labels, split, grouped, may_split, may_group)


def _given(reading: Reading) -> set[str]:
    return {(name or "").casefold() for name in (reading.path_column, reading.label_column)}


def _missing_columns(table: Table, missing: Sequence[str]) -> DataError:
    if not missing:
        return DataError(f"{table.path}: one column cannot hold both the paths and the labels.", _NAME_THEM)
    if any(Path(cell).suffix.lower() in image_suffixes() for cell in table.header):
        return DataError(
            f"The first line of {table.path} looks like an image's, not like a header: {', '.join(table.header)}.",
            f"Write the names of the columns above it. Expected {COLUMNS}.",
        )
    near = [did_you_mean(name, table.header) for name in missing]
    names = listed(f"{name!r}{found.rstrip('?')}" for name, found in zip(missing, near, strict=True))
    found = ", ".join(table.header) or "none"
    return DataError(
        f"{table.path} has no column {names}. Its columns: {found}.", f"Expected the columns {COLUMNS}. {_NAME_THEM}"
    )


_NAME_THEM = (
    "Columns of other names are given with --path-column and --label-column (recipe: data.path_column, "
    "data.label_column)."
)


def _read(
    table: Table, columns: _Columns, root: str, problems: RowProblems, *, closed: bool, prefix: str = ""
) -> _Rows:
    """Every row with a label; what is wrong with rows is noted."""
    rows = _Rows(unlabeled=RowProblems(table.unit))
    places = columns.places
    kept = [place for place in (columns.split, *columns.may_split, *columns.may_group) if place is not None]
    rows.cells = {place: [] for place in kept}
    seen: dict[str, int] = {}
    for number, cells in table.rows(places):
        if cells is None:
            problems.add("with another number of cells than the header; quote texts that hold the separator", number)
            continue
        row = dict(zip(places, cells, strict=True))
        name, label = row[columns.path], row[columns.label]
        if "\\" in name:
            name = _with_slashes(name, root)
        if not _usable(name, label, number, problems, closed=closed, prefix=prefix):
            continue
        if is_missing(label):
            rows.unlabeled.add("without a label", number)
            continue
        name = name.removeprefix(prefix)
        key = name if _PLAIN.match(name) else _normal(name, root)
        first = seen.setdefault(key, len(rows.names))
        if first < len(rows.names):
            same = rows.labels[first] == rows.classes.get(label)
            problems.add(
                f"with a path that stands above already, with {'the same' if same else 'another'} label", number
            )
            continue
        rows.names.append(name)
        rows.numbers.append(number)
        rows.labels.append(rows.classes.setdefault(label, len(rows.classes)))
        group = row[columns.group] if columns.group is not None else ""
        rows.groups.append(rows.texts.setdefault(group, group) if group else None)
        for place in kept:
            rows.cells[place].append(rows.texts.setdefault(row[place], row[place]))
    return rows


def _splits(rows: _Rows, columns: _Columns, problems: RowProblems, notes: list[str]) -> list[Split | None]:
    """The split of each row, from the column `split` or from those that turn out to hold splits."""
    meant: dict[int, dict[str, Split]] = {}
    if columns.split is not None:
        meant[columns.split] = split_words("split", {text for text in rows.cells[columns.split] if text}) or {}
    for place in columns.may_split:
        values = {text for text in rows.cells[place] if text}
        words = split_words(columns.header[place], values) if len(values) <= _MOST_VALUES else None
        if words is not None:
            meant[place] = words
            log.info("the split is in the column %r", columns.header[place])
        elif values and looks_like_split(columns.header[place]):
            notes.append(
                f"The column {columns.header[place]!r} is not read as a split, its values are no words for one: "
                f"{_some(values)}. Images are split without it; if it says the split, call it `split` and write train, "
                "val and test."
            )
    splits = [_split(rows, index, meant, columns, problems) for index in range(len(rows.names))]
    unsplit = [number for number, split in zip(rows.numbers, splits, strict=True) if split is None]
    if meant and len(unsplit) < len(splits) and not any("unknown split" in kind for kind in problems.kinds):
        for number in unsplit:
            problems.add("without a split, while others have one; fill in all or none", number)
    return splits


def _split(
    rows: _Rows, index: int, meant: dict[int, dict[str, Split]], columns: _Columns, problems: RowProblems
) -> Split | None:
    found: set[Split] = set()
    for place, words in meant.items():
        text = rows.cells[place][index]
        if text and text not in words:
            column = "" if place == columns.split else f" in column {columns.header[place]!r}"
            problems.add_word(f"with an unknown split{column}", rows.numbers[index], text)
        elif text:
            found.add(words[text])
    held_out = found - {"train"}
    if len(held_out) > 1:
        problems.add("in val by one column and in test by another", rows.numbers[index])
    return next(iter(held_out or found), None)


def _group_notes(rows: _Rows, columns: _Columns) -> list[str]:
    """Columns that seem to say which images belong together, and are not used."""
    notes = []
    for place in columns.may_group:
        texts = [text for text in rows.cells[place] if text]
        different = len(set(texts))
        if 1 < different < len(texts):
            name = columns.header[place]
            notes.append(
                f"The column {name!r} is not used: its {different:,} values repeat over {len(texts):,} images, and "
                f"images of one value may be split across train and validation. To keep them together: --group {name} "
                "(recipe: data.group)."
            )
    return notes


def _some(values: set[str]) -> str:
    shown = sorted(values, key=natural)
    return ", ".join(map(repr, shown[:3])) + (", ..." if len(shown) > 3 else "")


def _usable(name: str, label: str, number: int, problems: RowProblems, *, closed: bool, prefix: str) -> bool:
    """Whether path and label can be used at all; what is wrong is noted."""
    found = []
    if not name.strip():
        found.append("without a path")
    elif "\0" in name:
        found.append("with a NUL byte in the path")
    elif not name.startswith(prefix):
        found.append(f"with a path outside {prefix}, which the first path leads into")
    elif closed and _OUTSIDE.search(name.removeprefix(prefix)):
        found.append("with a path that leads out of the archive")
    if not label.isascii() and any("\ud800" <= letter <= "\udfff" for letter in label):
        found.append("with a label that is not UTF-8; save the table as UTF-8")
    for kind in found:
        problems.add(kind, number)
    return not found


def _with_slashes(name: str, root: str) -> str:
    if sys.platform != "win32" and "\0" not in name and os.path.lexists(os.path.join(root, name)):  # noqa: PTH118
        return name  # a file that is really called so
    return name.replace("\\", "/")


def _normal(name: str, root: str) -> str:
    """The path in the form that all ways to write it share."""
    return os.path.relpath(os.path.join(root, name), root).replace(os.sep, "/")  # noqa: PTH118


def _missing_files(path: Path, samples: Sequence[Sample]) -> list[str]:
    """A note on files that are not there, with what may be meant.

    Raises:
        DataError: not one of them is there.
    """
    step = max(1, len(samples) // _CHECKED)
    checked = samples[::step]
    missing = [sample for sample in checked if not _is_there(sample)]
    if not missing:
        return []
    first = missing[0]
    near = near_path(first.name, first.root)
    if len(missing) == len(checked) and not any(map(_is_there, samples)):
        raise DataError(
            f"{path} names {counted(len(samples), 'image')}, and not one of the files is there. "
            f"Looked for the first at {first.path}.",
            " ".join(filter(None, [near, _relative_hint(path, first)])),
        )
    of = f"of {len(checked):,}" if step == 1 else f"of {len(checked):,} that were looked for"
    return [f"{len(missing):,} {of} files in {path.name} are not there, such as {first.name}. {near}".rstrip()]


def _is_there(sample: Sample) -> bool:
    return os.path.exists(os.path.join(sample.root, sample.name))  # noqa: PTH110, PTH118


def _relative_hint(path: Path, first: Sample) -> str:
    there = os.path.exists(first.name)  # noqa: PTH110 (False for names that are too long)
    here = f" ({Path.cwd()} does hold {first.name}.)" if there else ""
    return (
        f"Paths are relative to the manifest, which lies in {path.parent}: move it, or correct the paths in it.{here}"
    )
