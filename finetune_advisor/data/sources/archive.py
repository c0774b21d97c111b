"""Images in a zip or tar archive: unpacked once into the cache, then listed as a folder or by the manifest in it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from finetune_advisor.data.digest import digest
from finetune_advisor.data.sources.extraction import extract
from finetune_advisor.data.sources.folder import list_folder
from finetune_advisor.data.sources.listing import SPLIT_WORDS, USUAL, Listing, Reading
from finetune_advisor.data.sources.manifest import is_manifest, list_manifest
from finetune_advisor.data.sources.scan import entries, image_suffixes, is_folder
from finetune_advisor.data.sources.table import TABLE_SUFFIXES, open_table
from finetune_advisor.data.sources.unpacked import FILES, unpacked
from finetune_advisor.data.wording import listed
from finetune_advisor.errors import DataError, UnopenedFile

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

log = logging.getLogger(__name__)


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that can be unpacked here."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def list_archive(path: Path, reading: Reading = USUAL) -> Listing:
    """List the images in an archive, after unpacking it into the cache if its content is not there yet.

    A single folder at the top is entered. Where a single table with the columns path and label lies at the top, it is
    the manifest of the images; otherwise the rules are those of `list_folder`.

    Args:
        path: absolute path of the archive.
        reading: how the manifest or the folders in it are read.

    Raises:
        DataError: the archive is damaged, encrypted, empty, dangerous to unpack, or its images cannot be listed.
        StorageError: the cache cannot take it.
    """
    files = archive_files(path)
    try:
        entered = _entered(files, reading)
        packed = (path / entered.relative_to(files)).as_posix()
        return replace(_list(entered, path, reading), source=str(path), packed=packed)
    except DataError as error:
        hint = error.hint and error.hint.replace(str(files), str(path))
        raise DataError(error.message.replace(str(files), str(path)), hint) from error


def manifest_header(path: Path, reading: Reading) -> tuple[str, ...]:
    """The columns of the manifest that an archive would be listed by; none where it has no such manifest.

    Raises:
        DataError, StorageError: see `list_archive`.
    """
    manifests, _ = _manifests(_entered(archive_files(path), reading), reading)
    return open_table(manifests[0]).header if manifests else ()


def archive_files(path: Path) -> Path:
    """The folder of the cache that an archive's members lie in, under their own names; unpacks it if need be.

    Raises:
        DataError, StorageError: see `list_archive`.
    """
    try:
        before = _state(path)
        key = digest(path)
    except (OSError, UnopenedFile) as error:
        reason = error.message if isinstance(error, UnopenedFile) else error.strerror
        raise DataError(
            f"{path} cannot be read: {reason}.", "Check that it is there and that you may read it."
        ) from error

    def fill(folder: Path) -> None:
        log.info("unpacking %s", path)
        extract(path, folder / FILES)
        if _state(path) != before:
            raise DataError(f"{path} changed while it was being read.", "Try again when it is complete.")

    return unpacked("archives", key, fill) / FILES


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _entered(root: Path, reading: Reading) -> Path:
    """The folder that holds the classes, the splits or the manifest: below the folders that stand alone."""
    while True:
        found = entries(str(root))
        folders = [entry for entry in found if is_folder(entry)]
        if len(folders) != 1 or folders[0].name.lower() in SPLIT_WORDS or _manifests(root, reading)[0]:
            return root
        if any(Path(entry.name).suffix.lower() in image_suffixes() for entry in found):
            return root
        inside = Path(folders[0].path)
        if not _manifests(inside, reading)[0] and not any(map(is_folder, entries(str(inside)))):
            return root
        root = inside


def _list(folder: Path, path: Path, reading: Reading) -> Listing:
    manifests, notes = _manifests(folder, reading)
    if len(manifests) > 1:
        raise DataError(
            f"{path} holds more than one manifest: {listed(each.name for each in manifests)}.",
            "Expected one table with the columns path and label: unpack the archive and name the one you mean.",
        )
    if manifests:
        log.info("%s: the images are those of %s in it", path.name, manifests[0].name)
        listing = list_manifest(manifests[0], reading, closed=True)
    else:
        column = reading.group or reading.path_column or reading.label_column
        if column is not None:
            raise DataError(f"{path} holds no manifest, so it has no column {column!r}.", "Leave it out.")
        listing = list_folder(folder, reading)
    return replace(listing, notes=(*notes, *listing.notes))


def _manifests(folder: Path, reading: Reading) -> tuple[list[Path], list[str]]:
    """The manifests directly in a folder, and notes on tables that cannot be read; others are something else."""
    tables = [Path(each.path) for each in entries(str(folder)) if Path(each.name).suffix.lower() in TABLE_SUFFIXES]
    manifests, notes = [], []
    for table in sorted(table for table in tables if table.is_file()):
        try:
            if is_manifest(table, reading):
                manifests.append(table)
        except DataError as problem:
            notes.append(f"Passed over in the archive: {problem.message}")
    return manifests, notes
