"""Files that are whole or not there: everything this package writes goes through here.

A file is written under a temporary name in the folder of its target, flushed to the disk and renamed over the
target. Whoever reads at any moment, or after a power cut, finds the old file or the new one, never a half.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from finetune_advisor.errors import RunError, StorageError

if TYPE_CHECKING:
    from pydantic import ValidationError

log = logging.getLogger(__name__)

APPLICATION = "finetune-advisor"


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than a limit of this shell (`ulimit -f`) or disk allows",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk reports an input/output error",
    errno.ENOTDIR: "a part of the path is a file, expected a folder",
    errno.EEXIST: "a part of the path is a file, expected a folder",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long for this disk",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OF_WRITING = {*_FULL, errno.EFBIG, errno.EROFS}
"""What no read is refused for."""

_HINT_FULL = "Free some space, or choose a folder on another disk."
_HINT_LIMIT = "Raise the limit: `ulimit -f unlimited`, or choose a folder on another disk."
_HINT_OTHER = "Choose a folder that can be written to."


def cache_root() -> Path:
    """Folder of everything that can be recomputed; not created here.

    `$XDG_CACHE_HOME/finetune-advisor` where that variable holds an absolute path (on every system, macOS
    included), else the place the operating system has for caches.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base and Path(base).is_absolute():
        return Path(base) / APPLICATION
    return platformdirs.user_cache_path(APPLICATION, appauthor=False)


@contextmanager
def storage_errors(target: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the disk's refusals inside the block into one clear error about `target`.

    Raises:
        StorageError: the disk is full, read-only, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        raise _storage_error(error, target) from error


def refused(error: OSError, target: str | os.PathLike[str]) -> StorageError | None:
    """What to say of a write to `target` that the disk refused; None where it need not have been a write."""
    return _storage_error(error, target) if error.errno in _OF_WRITING else None


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lend a temporary path; when the block ends well, what was written there becomes `path`.

    The temporary name keeps the suffix (some writers choose their format by it) and lies beside the target,
    whose folder is created if need be. A target that is a symbolic link stays one. When the block raises, the
    temporary file is removed and a previous file is untouched.

    Raises:
        StorageError: the disk is full, read-only, or the place cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp{target.suffix}")
    try:
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            temporary.replace(target)
            _flush_folder(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_others(folder: Path, pattern: str, *, keep: Collection[Path]) -> None:
    """Remove the files of a cache that match a pattern and are not wanted; one that cannot be removed stays."""
    for path in set(folder.glob(pattern)) - set(keep):
        with suppress(OSError):
            path.unlink()


def cached_files(folder: Path, *, suffix: str = "") -> list[Path]:
    """Files of a folder in the cache, in order of their names; none, which is said, where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
    except FileNotFoundError:
        return []
    except OSError as problem:
        log.warning("what is in the cache cannot be read and is computed again: %s", problem)
        return []


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (text as UTF-8, line ends as they are) to `path`, whole or not at all.

    Raises:
        StorageError: the disk is full, read-only, or the place cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def remove_leftovers(*folders: Path) -> None:
    """Remove what a process that was killed while it wrote left in these folders; nobody may be writing there now."""
    for folder in folders:
        for path in folder.glob(".*.tmp*"):
            path.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Check that `path` could be written now, its folders made if need be; leaves nothing behind.

    Raises:
        StorageError: the disk is full or read-only, or the place cannot be written.
    """
    target = Path(os.path.realpath(path))
    folder = next(parent for parent in target.parents if parent.exists())
    with storage_errors(path):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except FileNotFoundError:
            # What /proc answers, where no file can be made by anybody.
            raise StorageError(f"cannot write {path}: no file can be made in {folder}", _HINT_OTHER) from None


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network disks cannot flush a folder; the file itself is already flushed and in place.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)


def _storage_error(error: OSError, target: str | os.PathLike[str]) -> StorageError:
    assert error.errno is not None
    hint = _HINT_FULL if error.errno in _FULL else _HINT_LIMIT if error.errno == errno.EFBIG else _HINT_OTHER
    return StorageError(f"cannot write {os.fspath(target)}: {_REASONS[error.errno]}", hint)


def save_json(path: Path, value: object) -> None:
    """Write one JSON document, atomically; bytes of file names that are not UTF-8 become JSON's escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    atomic_write(path, text.encode(errors="backslashreplace"))


_WORDS = {
    "json_invalid": "it is cut short or is not JSON",
    "missing": "{key}: missing",
    "extra_forbidden": "{key}: this version does not know it",
}
"""Of what pydantic finds, in a person's words."""


def first_problem(error: ValidationError) -> str:
    """Where a document is not as expected, and what was expected there."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"])) or "the whole"
    if first["type"] in _WORDS:
        return _WORDS[first["type"]].format(key=key)
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message.replace('Input should be', 'expected', 1)}"


def load_json(path: Path, otherwise: str, *, hint: str | None = None) -> dict[str, Any]:
    """The object in a JSON file; `otherwise` begins the message where there is none, `hint` says what to do then.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{otherwise}: {path.name} is missing.", hint) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as problem:
        raise RunError(f"{otherwise}: {path.name} is damaged ({problem}).") from problem
    if not isinstance(loaded, dict):
        raise RunError(f"{otherwise}: {path.name} is not a JSON object.")
    return loaded
