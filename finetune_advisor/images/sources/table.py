"""Tables as rows of text, from CSV, TSV and Parquet, and which of their columns is which."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finetune_advisor.errors import DataError, did_you_mean
from finetune_advisor.images.sources.listing import SPLIT_WORDS, Split
from finetune_advisor.text import listed

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})

_NEEDS_PYARROW = "Install what reads it: pip install pyarrow; or save the table as CSV."
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (";", "\t", "|", ",")
_BATCH = 65_536
"""Rows of a Parquet file in memory at once."""

Row = tuple[int, Sequence[str] | None]
"""Number of the row, for messages, and the cells asked for; None where it has more or fewer cells than the header."""


class Table(Protocol):
    """Column names, and the rows below them; `unit` is what their numbers count, `line` or `row`."""

    @property
    def path(self) -> Path: ...
    @property
    def header(self) -> tuple[str, ...]: ...
    @property
    def unit(self) -> str: ...

    def rows(self, columns: Sequence[int]) -> Iterator[Row]:
        """The cells of these columns, stripped but for the first, of every row that is not wholly blank."""
        ...


def open_table(path: Path) -> Table:
    """Read the header of a table: `.tsv` by tabs, `.parquet`, everything else by commas.

    Where that leaves a header of one cell, and another usual separator stands in it, that one is used: spreadsheets
    write semicolons where the comma is the decimal sign.

    Raises:
        DataError: it cannot be read, is empty, or is not what its suffix says.
    """
    if path.suffix.lower() == ".parquet":
        return _ParquetTable(path, _parquet_header(path), "row")
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    for delimiter in (usual, *_SEPARATORS):
        header = next(_TextTable(path, (), "line", delimiter).records(), None)
        if header is None:
            raise DataError(f"{path} is empty.", "Expected a header: path,label[,split][,group], and a row per image.")
        if delimiter == usual or len(header[1]) > 1:
            found = _TextTable(path, tuple(cell.strip() for cell in header[1]), "line", delimiter)
        if len(found.header) > 1:
            return found
    return found


@dataclass(frozen=True)
class _TextTable:
    path: Path
    header: tuple[str, ...]
    unit: str
    delimiter: str

    def rows(self, columns: Sequence[int]) -> Iterator[Row]:
        width, rest = len(self.header), columns[1:]
        records = self.records()
        next(records)
        for line, cells in records:
            if not any(cells) or not any(map(str.strip, cells)):
                continue
            if len(cells) == width:
                yield line, (cells[columns[0]], *(cells[column].strip() for column in rest))
            else:
                yield line, None

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Every record with the line it begins on; the header is the first."""
        begins = 1
        try:
            with self.path.open("rb") as raw:
                if raw.read(2) in _UTF16:
                    raise _not_utf8(self.path)
            with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                reader = csv.reader(file, delimiter=self.delimiter, strict=True)
                for cells in reader:
                    yield begins, cells
                    begins = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{self.path}, line {begins}: {error}.",
                'Such a row often has a quotation mark that is not closed; inside quotes write "" for one.',
            ) from error
        except OSError as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True)
class _ParquetTable:
    path: Path
    header: tuple[str, ...]
    unit: str

    def rows(self, columns: Sequence[int]) -> Iterator[Row]:
        import pyarrow
        import pyarrow.parquet

        names = [self.header[column] for column in columns]
        number = 0
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_BATCH, columns=names):
                    columns_read = [batch.column(name).to_pylist() for name in names]
                    for values in zip(*columns_read, strict=True):
                        number += 1
                        cells = [_text(value) for value in values]
                        if any(cells):
                            yield number, (cells[0], *(cell.strip() for cell in cells[1:]))
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise _damaged(self.path, error) from error
        except OSError as error:
            raise _unreadable(self.path, error) from error


def _parquet_header(path: Path) -> tuple[str, ...]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path} is a Parquet file; pyarrow, which reads it, is not installed.", _NEEDS_PYARROW
        ) from error
    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    nested = [field.name for field in schema if pyarrow.types.is_nested(field.type)]
    return tuple(f"{name} (nested)" if name in nested else name for name in schema.names)


def _text(value: Any) -> str:
    """A cell as text; whole numbers, which tables with gaps store as 3.0, without the fraction."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _not_utf8(path: Path) -> DataError:
    return DataError(f"{path} is encoded as UTF-16, as some spreadsheets do.", "Save it as CSV UTF-8.")


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is no readable Parquet file: {error}.", "Write it again, or save the table as CSV.")


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = error.strerror or str(error)
    hint = f"Try: chmod u+r '{path}'" if isinstance(error, PermissionError) else "Check the file and the disk."
    return DataError(f"{path} cannot be read: {reason}.", hint)


PATHS = (
    "path",
    "filepath",
    "imagepath",
    "imgpath",
    "fullpath",
    "relativepath",
    "filename",
    "fname",
    "imagename",
    "imgname",
    "imagefile",
    "file",
    "image",
    "img",
    "images",
    "picture",
    "photo",
    "imageid",
    "imgid",
    "fileid",
    "id",
)
"""Usual names of the column with the paths, best first, without what separates their words."""
LABELS = (
    *("label", "labels", "class", "classname", "classlabel", "category", "categoryname", "target", "species"),
    *("breed", "diagnosis", "dx", "y"),
)
"""The same for the classes."""

_BELONGING = (
    *("patient", "subject", "scene", "participant", "person", "case", "study", "video", "session", "individual"),
    "specimen",
)
GROUPS = frozenset({*_BELONGING, *(f"{word}id" for word in (*_BELONGING, "group", "lesion", "slide", "animal"))})
"""Usual names of columns whose values images share that belong together."""

_ALSO = frozenset({"dataset", "part", "usage", "purpose"})
"""Names that columns of other use have too: worth no word where the values are no splits."""
_SPLITS = _ALSO | {"set", "subset", "datasplit", "splits", "splitname", "fold", "partition", "phase", "traintest"}
_SPLITS |= {"traintestsplit", "trainvaltest"}
_FLAGS: Mapping[str, tuple[Split, Split]] = {
    "isvalid": ("val", "train"),
    "isval": ("val", "train"),
    "isvalidation": ("val", "train"),
    "istest": ("test", "train"),
    "istrain": ("train", "test"),
    "istraining": ("train", "test"),
    "istrainingimage": ("train", "test"),
}
"""Columns of yes and no: the split of each."""
_YES, _NO = frozenset({"true", "1", "yes", "t", "y"}), frozenset({"false", "0", "no", "f", "n"})


def plain(name: str) -> str:
    """A column's name without case and separators: `File_Name` is `filename`."""
    return re.sub(r"[\W_]+", "", name.casefold())


def find_path(header: Sequence[str], given: str | None, table: object) -> int | None:
    """Place of the column with the paths; None where none is called so.

    Raises:
        DataError: there is no column `given`, or two.
    """
    return _find(header, given, PATHS, "--path-column", table)


def find_label(header: Sequence[str], given: str | None, table: object) -> int | None:
    """Place of the column with the labels; None where none is called so.

    Raises:
        DataError: there is no column `given`, or several may be meant.
    """
    if given is None and not {"label", "labels"} & {plain(name) for name in header}:
        fitting = [name for name in header if plain(name) in LABELS]
        if len(fitting) > 1:
            raise DataError(
                f"{table} has several columns that may hold the labels: {listed(fitting)}.",
                f"Name the one you mean: --label-column {fitting[0]} (recipe: data.label_column).",
            )
    return _find(header, given, LABELS, "--label-column", table)


def named(header: Sequence[str], given: str, table: object, use: str) -> int:
    """Place of the column that a person names, by its exact name or else in another case.

    Raises:
        DataError: there is none, or two.
    """
    places = [place for place, name in enumerate(header) if name == given]
    places = places or [place for place, name in enumerate(header) if name.casefold() == given.casefold()]
    if not places:
        raise DataError(
            f"{table} has no column {given!r} {use}{did_you_mean(given, header) or '.'}",
            f"Its columns: {', '.join(header)}.",
        )
    if len(places) > 1:
        raise DataError(f"{table} has two columns called {given!r}.", "Rename or remove one.")
    return places[0]


def is_there(header: Sequence[str], given: str) -> bool:
    """Whether `named` finds a column."""
    return given.casefold() in {name.casefold() for name in header}


def _find(header: Sequence[str], given: str | None, usual: Sequence[str], option: str, table: object) -> int | None:
    if given is not None:
        return named(header, given, table, f"as {option} says")
    names = [plain(name) for name in header]
    for word in usual:
        if names.count(word) > 1:
            twice = [name for name in header if plain(name) == word]
            raise DataError(
                f"{table} has two columns called {listed(map(repr, dict.fromkeys(twice)))}.",
                f"Rename or remove one, or name the one you mean with {option}.",
            )
        if word in names:
            return names.index(word)
    return None


def may_be_split(name: str) -> bool:
    """Whether a column is called as if it said which split an image is in, without being called `split`."""
    return plain(name) in _SPLITS or plain(name) in _FLAGS


def looks_like_split(name: str) -> bool:
    """Whether a person who calls a column so most likely means splits."""
    return may_be_split(name) and plain(name) not in _ALSO


def split_words(name: str, values: set[str]) -> dict[str, Split] | None:
    """What the values of a column that may be a split mean; None where they are no splits.

    A value that is missing from the result is unknown: some others are splits.
    """
    flag = _FLAGS.get(plain(name))
    if flag is not None:
        meant = {value: flag[0] for value in values if _yes_or_no(value) in _YES}
        meant |= {value: flag[1] for value in values if _yes_or_no(value) in _NO}
        return meant if len(meant) == len(values) and values else None
    meant = {value: SPLIT_WORDS[value.casefold()] for value in values if value.casefold() in SPLIT_WORDS}
    return meant or None


def _yes_or_no(value: str) -> str:
    return value.casefold().removesuffix(".0")
