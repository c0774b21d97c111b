"""Unpacks tar archives as a stream; nothing that their headers say is relied on."""

from __future__ import annotations

import posixpath
import tarfile
from dataclasses import dataclass
from typing import Any, Self

from finetune_advisor.data.sources.archive_members import Reader, Unpacker

_LARGEST_HEADER = 2**20
"""Bytes of an extended header (long names, attributes), which tarfile reads into memory whole."""
_CHUNK = 2**20
_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


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
        except tarfile.HeaderError as error:
            raise _Damaged(_reason(error)) from error

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _HEADERS and self.size > _LARGEST_HEADER:
            raise _Damaged(f"a header of {self.size:,} bytes, {_LARGEST_HEADER:,} at most are expected")
        return super()._proc_member(archive)  # type: ignore[misc]


@dataclass
class _Counted:
    """A stream that counts what is read from it, for what is skipped has to be decompressed too."""

    source: Reader
    unpacker: Unpacker
    read_so_far: int = 0

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        self.read_so_far += len(data)
        if self.read_so_far > self.unpacker.allowed:
            self.unpacker.make_room(self.read_so_far, "all members together")
        return data


def unpack_tar(stream: Reader, unpacker: Unpacker) -> None:
    """Unpack every member of a decompressed stream.

    Raises:
        DataError: damaged or dangerous.
        StorageError: the disk is too small.
    """
    counted = _Counted(stream, unpacker)
    try:
        with tarfile.open(fileobj=counted, mode="r|", tarinfo=_Member) as archive:  # type: ignore[call-overload]
            for member in archive:
                _unpack(archive, member, unpacker)
                archive.members = []  # or it keeps them all
        while counted.read(_CHUNK):
            pass  # the checksum stands at the very end
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise unpacker.damaged(str(error)) from error


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, unpacker: Unpacker) -> None:
    name = member.name
    place = unpacker.count(name)
    if member.isdir():
        unpacker.make_folder(place, name)
    elif member.issym():
        unpacker.link(place, name, member.linkname)
    elif member.islnk():
        target = unpacker.count(member.linkname)
        unpacker.link(place, name, posixpath.relpath(target, posixpath.dirname(place) or "."))
    elif member.isreg():
        source = archive.extractfile(member)
        assert source is not None, "a regular file has content"
        unpacker.make_room(member.size, name)
        unpacker.write(place, name, source)
    else:
        raise unpacker.refused(name, "is a device or pipe, not a file")


def _reason(error: Exception) -> str:
    if isinstance(error, tarfile.EmptyHeaderError | tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
        return "it ends in the middle, before the mark of its end"
    return str(error)
