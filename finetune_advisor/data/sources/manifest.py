"""A table of images: `path,label[,split][,group]` as CSV, TSV or Parquet."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_advisor.data.sources.listing import SPLIT_WORDS, Listing, Sample, Split
from finetune_advisor.data.sources.row_problems import RowProblems
from finetune_advisor.data.sources.scan import image_suffixes, natural
from finetune_advisor.data.sources.table import Table, open_table
from finetune_advisor.data.wording import counted, listed
from finetune_advisor.errors import DataError, did_you_mean

COLUMNS = "path,label[,split][,group]"
_REQUIRED = ("path", "label")
_OUTSIDE = re.compile(r"^(/|[A-Za-z]:)|(^|/)\.\.(/|$)")
"""Paths that may lead out of the folder they are relative to."""
_PLAIN = re.compile(r"^(?!/|\./)(?!.*(//|/\./|\.\./|/$))")
"""Paths that name a file in only one way, as nearly all do; others are brought to one form to find repeats."""

log = logging.getLogger(__name__)


@dataclass
class _Rows:
    """What was read so far, a list per column; equal texts are one object."""

    names: list[str]
    labels: list[int]
    splits: list[Split | None]
    groups: list[str | None]
    classes: dict[str, int]


def list_manifest(path: Path, *, group: str | None = None, closed: bool = False) -> Listing:
    """List the images that a manifest names, without opening any.

    - The columns are path and label, and optionally split and group, in any order and any case; others are passed over.
    - Relative paths start at the manifest's folder. Backslashes are taken for slashes where no file is called so.
    - A split is train, val (also valid, validation) or test, in any case: in every row or in none.
    - Images of a group never straddle an automatic split. A row without a group stands alone.
    - Wholly blank rows are passed over. A file that is missing stays in the listing, for it is reported with
      the unreadable ones; when all are missing the paths are wrong.

    Args:
        path: absolute path of the manifest.
        group: column that says which images belong together; None takes the column `group` where there is one.
        closed: refuse paths that lead out of the manifest's folder, as for one that came in an archive.

    Raises:
        DataError: the table cannot be read or lacks a column; or rows cannot be used, every kind of problem at once.
    """
    table = open_table(path)
    columns = _columns(table, group)
    root = str(path.parent)
    rows = _read(table, columns, root, closed=closed)
    if not rows.names:
        raise DataError(f"{path} has a header but no rows.", "Expected a row for each image.")
    classes = tuple(sorted(rows.classes, key=natural))
    place = {name: label for label, name in enumerate(classes)}
    label_of = [place[name] for name in rows.classes]
    samples = [
        Sample(root, name, label_of[label], split, group)
        for name, label, split, group in zip(rows.names, rows.labels, rows.splits, rows.groups, strict=True)
    ]
    samples.sort(key=lambda sample: natural(sample.name))
    _require_files(path, samples)
    return Listing(
        root=path.parent,
        source=str(path),
        classes=classes,
        samples=tuple(samples),
        ignored=(),
        group_column=table.header[columns["group"]] if "group" in columns else None,
    )


def is_manifest(path: Path) -> bool:
    """Whether a table has the columns of a manifest.

    Raises:
        DataError: it cannot be read.
    """
    return set(_REQUIRED) <= {name.casefold() for name in open_table(path).header}


def _columns(table: Table, group: str | None) -> dict[str, int]:
    """Where the columns that count stand."""
    header = [name.casefold() for name in table.header]
    missing = [name for name in _REQUIRED if name not in header]
    if missing:
        raise _missing_columns(table, missing)
    wanted = [*_REQUIRED, *(["split"] if "split" in header else [])]
    places = {name: header.index(name) for name in wanted}
    column = group or ("group" if "group" in header else None)
    if column is not None:
        if column.casefold() not in header:
            raise DataError(
                f"{table.path} has no column {column!r} to group by{did_you_mean(column, table.header) or '.'}",
                f"Its columns: {', '.join(table.header)}.",
            )
        exact = [index for index, name in enumerate(table.header) if name == column]
        places["group"] = exact[0] if exact else header.index(column.casefold())
        if group is None:
            log.info("images with the same value in column %r stay together", table.header[places["group"]])
    twice = [name for name in wanted if header.count(name) > 1]
    if column is not None and table.header.count(table.header[places["group"]]) > 1:
        twice.append(column)
    if twice:
        raise DataError(f"{table.path} has two columns called {listed(map(repr, twice))}.", "Rename or remove one.")
    passed_over = [name for index, name in enumerate(table.header) if name and index not in places.values()]
    if passed_over:
        log.info("columns of %s that are passed over: %s", table.path.name, listed(passed_over))
    return places


def _missing_columns(table: Table, missing: Sequence[str]) -> DataError:
    hint = f"Expected the columns {COLUMNS}."
    first = table.header[0] if table.header else ""
    for delimiter, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
        if len(table.header) == 1 and delimiter in first:
            expected = "tabs" if table.path.suffix.lower() == ".tsv" else "commas"
            named = {"\t": " or name it .tsv", ",": " or name it .csv"}.get(delimiter, "")
            return DataError(
                f"The header of {table.path} looks separated by {word}: {first!r}.",
                f"Expected {expected}: save it so{named}. {hint}",
            )
    if any(Path(cell).suffix.lower() in image_suffixes() for cell in table.header):
        return DataError(
            f"The first line of {table.path} looks like an image's, not like a header: {', '.join(table.header)}.",
            f"Write the names of the columns above it. {hint}",
        )
    near = [did_you_mean(name, table.header) for name in missing]
    names = listed(f"{name!r}{found.rstrip('?')}" for name, found in zip(missing, near, strict=True))
    found = ", ".join(table.header) or "none"
    return DataError(
        f"{table.path} has no column {names}. Its columns: {found}.", f"{hint} Rename or add what is missing."
    )


def _read(table: Table, columns: dict[str, int], root: str, *, closed: bool) -> _Rows:
    """Every row, or one error about all those that cannot be used."""
    problems = RowProblems(table.unit)
    rows = _Rows([], [], [], [], {})
    seen: dict[str, int] = {}
    groups: dict[str, str] = {}
    unsplit: list[int] = []
    has_split = "split" in columns
    for number, cells in table.rows(list(columns.values())):
        if cells is None:
            problems.add("with another number of cells than the header; quote texts that hold the separator", number)
            continue
        named = dict(zip(columns, cells, strict=True))
        name, label, word, group = cells[0], cells[1], named.get("split", ""), named.get("group", "")
        if "\\" in name:
            name = _with_slashes(name, root)
        if not _usable(name, label, number, problems, closed=closed):
            continue
        key = name if _PLAIN.match(name) else _normal(name, root)
        first = seen.setdefault(key, len(rows.names))
        split = SPLIT_WORDS.get(word) or SPLIT_WORDS.get(word.lower())
        if first < len(rows.names):
            same = rows.labels[first] == rows.classes.get(label)
            problems.add(
                f"with a path that stands above already, with {'the same' if same else 'another'} label", number
            )
            continue
        if word and split is None:
            problems.add_word("with an unknown split", number, word)
        elif has_split and split is None:
            unsplit.append(number)
        rows.names.append(name)
        rows.labels.append(rows.classes.setdefault(label, len(rows.classes)))
        rows.splits.append(split)
        rows.groups.append(groups.setdefault(group, group) if group else None)
    if len(unsplit) < len(rows.names):
        for number in unsplit:
            problems.add("without a split, while others have one; fill in all or none", number)
    problems.complain(table.path)
    return rows


def _usable(name: str, label: str, number: int, problems: RowProblems, *, closed: bool) -> bool:
    """Whether path and label can be used at all; what is wrong is noted."""
    found = []
    if not name.strip():
        found.append("without a path")
    elif "\0" in name:
        found.append("with a NUL byte in the path")
    elif closed and _OUTSIDE.search(name):
        found.append("with a path that leads out of the archive")
    if not label:
        found.append("without a label")
    elif not label.isascii() and any("\ud800" <= letter <= "\udfff" for letter in label):
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


def _require_files(path: Path, samples: Sequence[Sample]) -> None:
    if any(os.path.exists(os.path.join(sample.root, sample.name)) for sample in samples):  # noqa: PTH110, PTH118
        return
    first = samples[0]
    raise DataError(
        f"{path} names {counted(len(samples), 'image')}, and not one of the files is there. "
        f"Looked for the first at {first.path}.",
        f"Paths are relative to the manifest, which lies in {path.parent}: move it, or mend the paths in it."
        + (f" ({Path.cwd()} does hold {first.name}.)" if Path(first.name).exists() else ""),
    )
