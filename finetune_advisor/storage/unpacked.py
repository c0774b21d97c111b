"""Folders of unpacked images in the cache: whole or not there, and made again when something is missing."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from finetune_advisor.errors import StorageError
from finetune_advisor.storage.files import atomic_write, cache_root, storage_errors
from finetune_advisor.text import counted

FILES = "files"
"""The folder, in the one that `unpacked` returns, that holds the images."""

_RECORD = "record.json"
_ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which an unfinished folder that nobody adds to is taken for the remains of a killed process."""
_HINT = "Free some space, or choose another place for the cache with the variable XDG_CACHE_HOME."

log = logging.getLogger(__name__)


def unpacked(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The folder of the cache for `key`, filled by `fill` unless it is there and whole.

    `fill` gets an empty folder beside it, which takes its place by one renaming: a killed process leaves nothing
    that counts, and of two processes that race one is thrown away. Whether a folder is whole is told by the number
    and size of its files.

    Args:
        kind: folder of the cache, such as `archives`.
        key: digest of what is unpacked.
        fill: puts the images into `files` in the folder it is given.

    Raises:
        StorageError: the cache cannot be written.
        DataError: what `fill` raises.
    """
    place = cache_root() / kind / key
    if place.is_dir():
        if _is_whole(place):
            return place
        log.warning("files are missing from %s or were changed: it is made again", place)
        shutil.rmtree(place, ignore_errors=True)
    part = place.with_name(f".{key}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with storage_errors(place):
            _remove_abandoned(place.parent)
            (part / FILES).mkdir(parents=True)
            fill(part)
            files, size = _contents(part)
            atomic_write(part / _RECORD, json.dumps({"files": files, "bytes": size}))
            _put(part, place)
    except StorageError as error:
        raise StorageError(error.message, _HINT) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return place


def _put(part: Path, place: Path) -> None:
    try:
        part.rename(place)
    except OSError as error:
        if not _is_whole(place):
            raise StorageError(f"cannot write {place}: {error.strerror}") from error
        log.info("another process made %s at the same time", place)


def _is_whole(place: Path) -> bool:
    try:
        record = json.loads((place / _RECORD).read_bytes())
        return _contents(place) == (record["files"], record["bytes"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        log.info("%s has no usable record: %s", place, problem)
        return False


def _contents(place: Path) -> tuple[int, int]:
    """How many files there are below a folder, its record aside, and their bytes in all; links are not followed."""
    files = size = 0
    waiting = [str(place)]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.name != _RECORD:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return files, size


def _remove_abandoned(folder: Path) -> None:
    if not folder.is_dir():
        return
    for part in folder.glob(".*.part"):
        with suppress(OSError):  # another process may be removing it too
            if time.time() - part.stat().st_mtime > _ABANDONED_AFTER:
                log.info("removed what a killed process left: %s (%s)", part, counted(_contents(part)[0], "file"))
                shutil.rmtree(part, ignore_errors=True)
