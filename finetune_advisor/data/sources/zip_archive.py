"""Unpacks zip archives; nothing that their headers say is relied on."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from finetune_advisor.data.sources.archive_members import MOST_MEMBERS, Unpacker
from finetune_advisor.errors import DataError

_ENCRYPTED = 0x1
_LONGEST_LINK = 4096
"""Bytes of a link's target: the longest path that Linux knows."""


def unpack_zip(path: Path, unpacker: Unpacker) -> None:
    """Unpack every member.

    Raises:
        DataError: damaged, encrypted or dangerous.
        StorageError: the disk is too small.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise unpacker.refused(members[MOST_MEMBERS].filename, f"is beyond {MOST_MEMBERS:,} files")
            if members:
                largest = max(members, key=lambda member: member.file_size)
                unpacker.make_room(sum(member.file_size for member in members), largest.filename)
            for member in members:
                _unpack(archive, member, unpacker)
    except (zipfile.BadZipFile, ValueError) as error:  # ValueError: places and texts that cannot be
        raise unpacker.damaged(str(error)) from error
    except NotImplementedError as error:
        raise DataError(
            f"{path} cannot be unpacked here: {error}.", "Unpack it yourself and name the folder."
        ) from error


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, unpacker: Unpacker) -> None:
    name = member.orig_filename
    place = unpacker.count(name)
    if member.flag_bits & _ENCRYPTED:
        raise DataError(
            f"{unpacker.archive} is encrypted ({name!r} and perhaps others).",
            "Unpack it with its password and name the folder.",
        )
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if member.is_dir() or kind == stat.S_IFDIR:
        unpacker.make_folder(place, name)
        return
    if kind not in {0, stat.S_IFREG, stat.S_IFLNK}:
        raise unpacker.refused(name, "is a device, not a file")
    with archive.open(member) as source:
        if kind == stat.S_IFLNK:
            unpacker.link(place, name, source.read(_LONGEST_LINK).decode(errors="surrogateescape"))
        else:
            unpacker.write(place, name, source)
