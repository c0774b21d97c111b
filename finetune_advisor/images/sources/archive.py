"""Images in a zip or tar archive: unpacked once into the cache, then listed as a folder or by the manifest in it.

`zipfile` and tarfile's data filter write the files. What they do not look at is checked before each one is written: how
much comes out of so small an archive, whether the disk holds it, and headers that tarfile would take for the end.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import logging
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

from finetune_advisor.errors import DataError, StorageError, UnopenedFile
from finetune_advisor.images.decode import digest
from finetune_advisor.images.sources.folder import list_folder
from finetune_advisor.images.sources.listing import SPLIT_WORDS, USUAL, Listing, Reading
from finetune_advisor.images.sources.manifest import is_manifest, list_manifest
from finetune_advisor.images.sources.scan import entries, image_suffixes, is_folder
from finetune_advisor.images.sources.table import TABLE_SUFFIXES, open_table
from finetune_advisor.storage.unpacked import FILES, unpacked
from finetune_advisor.text import listed

log = logging.getLogger(__name__)

MOST_MEMBERS = 2_000_000
"""More files than image sets that are kept as one archive hold (ImageNet's training set has 1.3 million); far more of
them, and empty, would fill the file system without taking any bytes."""
MOST_GROWTH = 100
"""Unpacked bytes per byte of archive. Photographs shrink by nothing, uncompressed scans and masks 50-fold at best;
what deflate is fed to make a bomb shrinks 1,000-fold."""
ALWAYS_ALLOWED = 64 * 2**20
"""Bytes that may come out of any archive: small sets of flat-colored pictures shrink beyond all proportion."""
KEPT_FREE = 2**30
"""Bytes of the disk that are left free, so that the computer goes on working."""

_COMPRESSED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
"""How the content of a compressed file begins, and what reads it: names are often wrong."""
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OTHERS = ((b"\x28\xb5\x2f\xfd", "Zstandard"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!", "RAR"))

_ENCRYPTED = 0x1
_CHUNK = 2**20
_LARGEST_HEADER = 2**20
"""Bytes of an extended header (long names, attributes), which tarfile reads into memory whole."""
_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


_DRIVE = re.compile("^[A-Za-z]:")


def extract(path: Path, folder: Path) -> None:
    """Unpack an archive into a folder that is there and empty; what it is follows from its content.

    Raises:
        DataError: it is damaged, encrypted, empty, or dangerous to unpack.
        StorageError: the disk is too small for it.
    """
    with path.open("rb") as file:
        begins = file.read(8)
    packed = next((kind for opening, kind in _OTHERS if begins.startswith(opening)), None)
    if packed is not None:
        raise DataError(f"{path} is packed with {packed}, whatever its name says.", "Unpack it first.")
    opened = next((opener for opening, opener in _COMPRESSED if begins.startswith(opening)), None)
    allowed = max(ALWAYS_ALLOWED, MOST_GROWTH * path.stat().st_size)
    limits = _Limits(path, allowed, shutil.disk_usage(folder).free - KEPT_FREE)
    try:
        # Something may stand before a zip's content, so there the name counts too.
        if begins.startswith(_ZIPS) or (opened is None and path.name.lower().endswith(".zip")):
            _extract_zip(path, folder, limits)
        else:
            with (opened or open)(path, "rb") as stream:
                _extract_tar(stream, folder, limits)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        name = Path(error.filename).relative_to(folder).as_posix()
        raise limits.refused(name, "is a file and a folder") from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise limits.damaged(error) from error
    except OSError as error:
        if error.errno not in {None, errno.EINVAL}:  # the disk's, not the archive's
            raise
        raise limits.damaged(error) from error
    if not limits.names:
        raise DataError(f"{path} is empty.", "Expected an archive of images.")


@dataclass
class _Limits:
    """What may come out of an archive, and what did so far.

    Attributes:
        archive: named in messages.
        allowed: bytes that may be written.
        free: bytes the disk may give to them.
        names: of files and folders, with forward slashes.
        files: those that are no folders.
        size: bytes of the files.
    """

    archive: Path
    allowed: int
    free: int
    names: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    size: int = 0

    def admit(self, name: str, size: int, *, folder: bool) -> str:
        """Count a member before it is written; its name with forward slashes, as some programs for Windows have others.

        Raises:
            DataError: it would lie elsewhere or comes again, or there is too much.
            StorageError: the disk is too small.
        """
        slashed = name.replace("\\", "/")
        if slashed.startswith("/") or _DRIVE.match(slashed):
            raise self.refused(name, "has an absolute path")
        if ".." in slashed.split("/"):
            raise self.refused(name, "has a path that leads out of the archive")
        if "\0" in slashed:
            raise self.refused(name, "has a NUL byte in its path")
        place = "/".join(part for part in slashed.split("/") if part not in {"", "."})
        if place in self.files or (not folder and place in self.names):
            raise self.refused(name, "stands there twice, or is a file and a folder")
        self.names.add(place)
        if not folder:
            self.files.add(place)
        if len(self.names) > MOST_MEMBERS:
            raise self.refused(name, f"is beyond the {MOST_MEMBERS:,} files that are unpacked at most")
        self.size += size
        self.require_room(self.size, name)
        return slashed

    def require_room(self, size: int, name: str) -> None:
        """Check that so many bytes may come out in all.

        Raises:
            DataError: they would be out of proportion to the archive.
            StorageError: the disk is too small for them.
        """
        if size > self.allowed:
            raise self.refused(
                name,
                f"brings what is unpacked to {_bytes(size)}, more than the {_bytes(self.allowed)} expected at most "
                "of an archive of this size: perhaps a bomb",
            )
        if size > self.free:
            raise StorageError(f"{self.archive} does not fit on the disk of the cache: {_bytes(size)} and more.")

    def refused(self, name: str, reason: str) -> DataError:
        """The error about a member that is not unpacked."""
        return DataError(
            f"{self.archive} is not unpacked: {name!r} in it {reason}.",
            "If you trust the archive, unpack it yourself and name the folder.",
        )

    def damaged(self, problem: Exception) -> DataError:
        """The error about an archive that cannot be read to its end."""
        return DataError(f"{self.archive} is damaged: {str(problem).rstrip('.')}.", "Download or make it again.")


def _extract_zip(path: Path, folder: Path, limits: _Limits) -> None:
    """Sizes come from the directory of the archive; zipfile writes no more of a member than that says."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                is_folder = member.is_dir() or kind == stat.S_IFDIR
                if member.flag_bits & _ENCRYPTED:
                    raise DataError(
                        f"{path} is encrypted ({member.orig_filename!r} and perhaps others).",
                        "Unpack it with its password and name the folder.",
                    )
                if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                    raise limits.refused(member.orig_filename, "is a link or a device, not a file")
                member.filename = limits.admit(member.orig_filename, member.file_size, folder=is_folder)
                if is_folder and not member.filename.endswith("/"):
                    member.filename += "/"
            for member in archive.infolist():
                archive.extract(member, folder)
    except (zipfile.BadZipFile, ValueError) as error:  # ValueError: places and texts that cannot be
        raise limits.damaged(error) from error
    except NotImplementedError as error:
        raise DataError(
            f"{path} cannot be unpacked here: {error}.", "Unpack it yourself and name the folder."
        ) from error


def _extract_tar(stream: _Stream, folder: Path, limits: _Limits) -> None:
    """Members are checked one by one as they come: a tar has no directory, and to read it twice takes twice as long."""
    if not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{limits.archive} is not unpacked: this Python cannot unpack tar archives safely.",
            "Use Python 3.11.4 or later, or unpack it yourself and name the folder.",
        )

    def checked(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
        if not (member.isreg() or member.isdir()):
            raise limits.refused(member.name, "is a link, a device or a pipe, not a file")
        name = limits.admit(member.name, member.size, folder=member.isdir())
        return tarfile.data_filter(member.replace(name=name, deep=False), destination)

    counted = _Counted(stream, limits)
    try:
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Member) as archive:  # type: ignore[call-overload]
            for member in archive:
                archive.extract(member, folder, filter=checked)
                archive.members = []  # or it keeps them all
        while counted.read(_CHUNK):
            pass  # the checksum stands at the very end
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise limits.damaged(error) from error


@dataclass
class _Counted:
    """A stream that counts what is read from it, for what is skipped has to be decompressed too."""

    source: _Stream
    limits: _Limits
    done: int = 0

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        self.done += len(data)
        if self.done > self.limits.allowed:
            self.limits.require_room(self.done, "all members together")
        return data


class _Damaged(tarfile.TarError):
    """A header in the middle that tarfile would take for the archive's end."""


class _Member(tarfile.TarInfo):
    """A member whose headers are read with care."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next member; a damaged or half header is an error anywhere, not only at the beginning."""
        try:
            return super().fromtarfile(archive)
        except (tarfile.EOFHeaderError, tarfile.SubsequentHeaderError):  # type: ignore[attr-defined]
            raise
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise _Damaged("it ends in the middle, before the mark of its end") from error
        except tarfile.HeaderError as error:
            raise _Damaged(str(error)) from error

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            raise _Damaged(f"a header of {self.size:,} bytes, {_LARGEST_HEADER:,} at most are expected")
        return super()._proc_member(archive)  # type: ignore[misc]


def _bytes(number: int) -> str:
    size, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}"


ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


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
