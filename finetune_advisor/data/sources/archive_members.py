"""Puts an archive's members into a folder, and none anywhere else or more than fit: the rules for zip and tar alike."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from finetune_advisor.errors import DataError, StorageError

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

_CHUNK = 2**20
_DRIVE = re.compile("^[A-Za-z]:")
_HINT_REFUSED = "If you trust the archive, unpack it yourself and name the folder."


class Reader(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass
class Unpacker:
    """Writes members below a folder and keeps count of them.

    Attributes:
        folder: where they go; empty at first.
        archive: named in messages.
        allowed: bytes that may be written.
        free: bytes the disk may give to them.
        members, written: what came so far.
        made: folders that are there.
        links: place -> target, made when everything else is there.
    """

    folder: Path
    archive: Path
    allowed: int
    free: int
    members: int = 0
    written: int = 0
    made: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def into(folder: Path, archive: Path) -> Unpacker:
        """An unpacker with the limits that follow from the archive's size and the disk's room."""
        allowed = max(ALWAYS_ALLOWED, MOST_GROWTH * archive.stat().st_size)
        return Unpacker(folder, archive, allowed, shutil.disk_usage(folder).free - KEPT_FREE)

    def count(self, name: str) -> str:
        """Count a member; its place below the folder, with forward slashes.

        Raises:
            DataError: it would lie elsewhere, or there are too many.
        """
        self.members += 1
        if self.members > MOST_MEMBERS:
            raise self.refused(name, f"is beyond the {MOST_MEMBERS:,} files that are unpacked at most")
        slashed = name.replace("\\", "/")
        if slashed.startswith("/") or _DRIVE.match(slashed):
            raise self.refused(name, "has an absolute path")
        if ".." in slashed.split("/"):
            raise self.refused(name, "has a path that leads out of the archive")
        if "\0" in slashed:
            raise self.refused(name, "has a NUL byte in its path")
        return posixpath.normpath(slashed)

    def make_room(self, size: int, name: str) -> None:
        """Check that so many bytes may still be written.

        Raises:
            DataError: they would be out of proportion to the archive.
            StorageError: the disk is too small for them.
        """
        total = self.written + size
        if total > self.allowed:
            raise self.refused(
                name,
                f"brings what is unpacked to {_bytes(total)}, "
                f"more than the {_bytes(self.allowed)} expected at most of an archive of this size: perhaps a bomb",
            )
        if total > self.free:
            raise StorageError(f"{self.archive} does not fit on the disk of the cache: {_bytes(total)} and more.")

    def write(self, place: str, name: str, source: Reader) -> None:
        """Write a file, counting what really comes.

        Raises:
            DataError, StorageError: too much comes, or something else is called so.
        """
        target = self._new(place, name)
        try:
            with target.open("xb") as file:
                while chunk := source.read(_CHUNK):
                    self.make_room(len(chunk), name)
                    self.written += len(chunk)
                    file.write(chunk)
        except FileExistsError as error:
            raise self._twice(name) from error

    def make_folder(self, place: str, name: str) -> None:
        """Make a folder; one that is there already will do."""
        if place in self.made:
            return
        try:
            (self.folder / place).mkdir(parents=True, exist_ok=True)
            self.made.add(place)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._twice(name) from error

    def link(self, place: str, name: str, target: str) -> None:
        """Note a link; `target` is relative to the link's folder. It is made by `finish`.

        Raises:
            DataError: it leads out, or a link of that place is known.
        """
        slashed = target.replace("\\", "/")
        end = posixpath.normpath(posixpath.join(posixpath.dirname(place), slashed))
        if slashed.startswith("/") or _DRIVE.match(slashed) or end == ".." or end.startswith("../"):
            raise self.refused(name, f"is a link that leads out of the archive, to {target}")
        if place in self.links:
            raise self._twice(name)
        self.links[place] = slashed

    def finish(self) -> None:
        """Make the links, now that nothing can be written through them, and look where they really lead.

        Raises:
            DataError: one leads out through another, or nothing was unpacked.
        """
        for place, target in self.links.items():
            try:
                self._new(place, place).symlink_to(target)
            except FileExistsError as error:
                raise self._twice(place) from error
        inside = os.path.realpath(self.folder)
        for place in self.links:
            end = os.path.realpath(self.folder / place)
            if end != inside and not end.startswith(inside + os.sep):
                raise self.refused(place, "is a link that leads out of the archive by way of others")
        if not self.members:
            raise DataError(f"{self.archive} is empty.", "Expected an archive of images.")

    def refused(self, name: str, reason: str) -> DataError:
        """The error about a member that is not unpacked."""
        return DataError(f"{self.archive} is not unpacked: {name!r} in it {reason}.", _HINT_REFUSED)

    def damaged(self, reason: str) -> DataError:
        """The error about an archive that cannot be read to its end."""
        return DataError(f"{self.archive} is damaged: {reason.rstrip('.')}.", "Download or make it again.")

    def _new(self, place: str, name: str) -> Path:
        target = self.folder / place
        self.make_folder(posixpath.dirname(place), name)
        return target

    def _twice(self, name: str) -> DataError:
        return self.refused(name, "stands there twice, or is a file and a folder")


def _bytes(number: int) -> str:
    size, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}"
