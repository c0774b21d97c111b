"""Tables as rows of text, from CSV, TSV and Parquet: a few columns of many rows, in little memory."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from finetune_advisor.errors import DataError

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
