"""Images to ask a model about: files, folders, patterns, tables and a stream of names, a block at a time.

Of a million images only names are ever in memory together; a table and a stream are read as they are needed.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

from finetune_advisor.errors import DataError, did_you_mean
from finetune_advisor.images.sources.archive import is_archive
from finetune_advisor.images.sources.listing import Reading
from finetune_advisor.images.sources.manifest import first_path
from finetune_advisor.images.sources.near_paths import near_path
from finetune_advisor.images.sources.scan import images_below
from finetune_advisor.images.sources.table import TABLE_SUFFIXES, Table, find_path, open_table

BLOCK = 4096
"""Images that are asked about together: enough that starting the processes that decode them costs nothing."""

log = logging.getLogger(__name__)

STREAM = "-"
"""Stands for standard input: one path a line."""

_READ_BYTES = 1 << 16

Block = list[Path]


class Stream(Protocol):
    """Bytes that come when somebody writes them, as from a pipe."""

    def read1(self, size: int, /) -> bytes:
        """What is there, at most so many bytes; waits only while nothing is; empty at the end."""
        ...


def image_blocks(names: Sequence[str], stream: Stream, *, path_column: str | None = None) -> Iterator[Block]:
    """The images that a person names, in that order, in blocks of at most `BLOCK`.

    - A folder stands for all images below it, a pattern (`more/*.jpg`) for the files that match it.
    - A CSV, TSV or Parquet table stands for its column `path`, or `path_column`, or one with another usual name;
      relative paths start at the table's folder.
    - `-` stands for the paths that `stream` has, one a line; a block is then what has been written so far, so that
      whoever writes slowly gets each answer at once.

    Everything but tables and the stream is looked for before the first block is given out.

    Raises:
        DataError: something named does not exist, a table cannot be read, or nothing is left.
    """
    blocks = _joined([None if name == STREAM else _named(name, path_column) for name in names], stream)
    first = next(blocks, None)
    if first is None:
        raise DataError(f"No images in {', '.join(names)}.")
    return chain([first], blocks)


def _joined(parts: Sequence[Iterable[Path] | None], stream: Stream) -> Iterator[Block]:
    """Small parts that follow each other share a block; the stream, for which None stands, has its own."""
    waiting: list[Iterable[Path]] = []
    for part in parts:
        if part is not None:
            waiting.append(part)
            continue
        yield from _filled(chain.from_iterable(waiting))
        waiting.clear()
        yield from _as_they_come(stream)
    yield from _filled(chain.from_iterable(waiting))


def _filled(paths: Iterator[Path]) -> Iterator[Block]:
    while block := list(islice(paths, BLOCK)):
        yield block


def _as_they_come(stream: Stream) -> Iterator[Block]:
    rest = b""
    while content := stream.read1(_READ_BYTES):
        *lines, rest = (rest + content).split(b"\n")
        yield from _filled(_of_lines(lines))
    yield from _filled(_of_lines([rest]))


def _of_lines(lines: Iterable[bytes]) -> Iterator[Path]:
    return (Path(os.fsdecode(name)) for line in lines if (name := line.rstrip(b"\r")))


def _named(name: str, path_column: str | None) -> Iterable[Path]:
    path = Path(name)
    if path.is_dir():
        return images_below(path)
    if path.exists():
        return _rows(path, path_column) if path.suffix.lower() in TABLE_SUFFIXES else [path]
    matches = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 (may be absolute)
    if not matches:
        raise DataError(
            f"There is no file or folder {name}, and no file matches it as a pattern.",
            near_path(name, str(Path.cwd())) or None,
        )
    return [match for match in matches if match.is_file()]


def _rows(path: Path, path_column: str | None) -> Iterator[Path]:
    table = open_table(path)
    place = find_path(table.header, path_column, path)
    if place is None:
        raise DataError(
            f"{path} has no column 'path'{did_you_mean('path', table.header) or '.'} "
            f"Its columns: {', '.join(table.header)}.",
            "Rename the column that holds the paths of the images, or name it with --path-column.",
        )
    _check_first(path, path_column)
    return _paths(table, place)


def _check_first(table: Path, path_column: str | None) -> None:
    """Say what is meant where the first file is not there: most often all paths are wrong in the same way.

    Raises:
        DataError: it lies in an archive.
    """
    first = first_path(table, Reading(path_column=path_column))
    place = table.parent / (first or "")
    if not first or os.path.exists(place):  # noqa: PTH110 (False for names that are too long)
        return
    archive = next((above for above in place.parents if is_archive(above) and os.path.isfile(above)), None)  # noqa: PTH113
    if archive is not None:
        raise DataError(
            f"{table} names images inside {archive}, which `predict` does not open.",
            "Unpack it and name the folder; `analyze`, `run` and `evaluate` read such a table as it is.",
        )
    if near := near_path(first, str(table.parent)):
        log.warning("%s: there is no %s. %s", table, first, near)


def _paths(table: Table, column: int) -> Iterator[Path]:
    for number, cells in table.rows([column]):
        if cells is None:
            raise DataError(
                f"{table.path}, {table.unit} {number}, has another number of cells than the header.",
                "Quote texts that hold the separator.",
            )
        if cells[0].strip():
            yield Path(table.path.parent, cells[0])
