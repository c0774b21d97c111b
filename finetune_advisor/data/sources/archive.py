"""Images in a zip or tar archive: unpacked once into the cache, then listed as a folder or by the manifest in it."""

from __future__ import annotations

import bz2
import errno
import gzip
import logging
import lzma
import zlib
from dataclasses import replace
from pathlib import Path

from finetune_advisor.data.digest import digest
from finetune_advisor.data.sources.archive_members import Unpacker
from finetune_advisor.data.sources.folder import list_folder
from finetune_advisor.data.sources.listing import SPLIT_WORDS, Listing
from finetune_advisor.data.sources.manifest import is_manifest, list_manifest
from finetune_advisor.data.sources.scan import entries, image_suffixes, is_folder
from finetune_advisor.data.sources.table import TABLE_SUFFIXES
from finetune_advisor.data.sources.tar_archive import unpack_tar
from finetune_advisor.data.sources.unpacked import FILES, unpacked
from finetune_advisor.data.sources.zip_archive import unpack_zip
from finetune_advisor.data.wording import listed
from finetune_advisor.errors import DataError, UnopenedFile

_TARS = {
    ".tar": open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
ARCHIVE_SUFFIXES = (".zip", *_TARS)

log = logging.getLogger(__name__)


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that can be unpacked here."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def list_archive(path: Path, *, group: str | None = None) -> Listing:
    """List the images in an archive, after unpacking it into the cache if its content is not there yet.

    A single folder at the top is entered. Where a single table with the columns path and label lies at the top, it is
    the manifest of the images; otherwise the rules are those of `list_folder`.

    Args:
        path: absolute path of the archive.
        group: column of the manifest in it that says which images belong together.

    Raises:
        DataError: the archive is damaged, encrypted, empty, dangerous to unpack, or its images cannot be listed.
        StorageError: the cache cannot take it.
    """
    files = archive_files(path)
    try:
        entered = _entered(files)
        packed = (path / entered.relative_to(files)).as_posix()
        return replace(_list(entered, path, group), source=str(path), packed=packed)
    except DataError as error:
        hint = error.hint and error.hint.replace(str(files), str(path))
        raise DataError(error.message.replace(str(files), str(path)), hint) from error


def archive_root(path: Path) -> Path:
    """The folder of the cache that the names of an archive's images are relative to; unpacks it if need be.

    Raises:
        DataError, StorageError: see `list_archive`.
    """
    return _entered(archive_files(path))


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
        _unpack(path, folder / FILES)
        if _state(path) != before:
            raise DataError(f"{path} changed while it was being read.", "Try again when it is complete.")

    return unpacked("archives", key, fill) / FILES


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _unpack(path: Path, folder: Path) -> None:
    log.info("unpacking %s", path)
    unpacker = Unpacker.into(folder, path)
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            unpack_zip(path, unpacker)
        else:
            opened = next(opener for suffix, opener in _TARS.items() if name.endswith(suffix))
            with opened(path, "rb") as stream:  # type: ignore[operator]
                unpack_tar(stream, unpacker)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise unpacker.damaged(str(error)) from error
    except OSError as error:
        if error.errno not in {None, errno.EINVAL}:  # the disk's, not the archive's
            raise
        raise unpacker.damaged(str(error)) from error
    unpacker.finish()


def _entered(root: Path) -> Path:
    """The folder that holds the classes, the splits or the manifest: below the folders that stand alone."""
    while True:
        found = entries(str(root))
        folders = [entry for entry in found if is_folder(entry)]
        if len(folders) != 1 or folders[0].name.lower() in SPLIT_WORDS or _manifests(root):
            return root
        if any(Path(entry.name).suffix.lower() in image_suffixes() for entry in found):
            return root
        inside = Path(folders[0].path)
        if not _manifests(inside) and not any(map(is_folder, entries(str(inside)))):
            return root
        root = inside


def _list(folder: Path, path: Path, group: str | None) -> Listing:
    manifests = _manifests(folder)
    if len(manifests) > 1:
        raise DataError(
            f"{path} holds more than one manifest: {listed(each.name for each in manifests)}.",
            "Expected one table with the columns path and label: unpack the archive and name the one you mean.",
        )
    if manifests:
        log.info("%s: the images are those of %s in it", path.name, manifests[0].name)
        return list_manifest(manifests[0], group=group, closed=True)
    if group is not None:
        raise DataError(f"{path} holds no manifest, so it has no column {group!r}.", "Leave the group out.")
    return list_folder(folder)


def _manifests(folder: Path) -> list[Path]:
    """The manifests directly in a folder; tables without the columns of one are something else."""
    tables = [Path(each.path) for each in entries(str(folder)) if Path(each.name).suffix.lower() in TABLE_SUFFIXES]
    return sorted(table for table in tables if table.is_file() and _is_manifest(table))


def _is_manifest(table: Path) -> bool:
    try:
        return is_manifest(table)
    except DataError as problem:
        log.warning("passed over in the archive: %s", problem.message)
        return False
