"""One writer at a time: a lock on a run folder that dies with the process that holds it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from finetune_advisor.errors import RunError
from finetune_advisor.storage.files import storage_errors

log = logging.getLogger(__name__)

_UNLOCKABLE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What disks answer that know no locks."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, whose folder exists, while the block runs; the file is removed afterwards.

    Where the system or the disk knows no locks, this is logged and the block runs without one.

    Raises:
        RunError: another process holds it.
        StorageError: the file cannot be written.
    """
    lock, holder = FileLock(path, timeout=0, fallback_to_soft=False), holder_of(path)
    with storage_errors(path):
        held = _acquired(lock, path)
        if held:
            holder.write_text(str(os.getpid()))
    if not held:
        log.warning("%s is not locked (this system or disk has no locks): start no second run there.", path.parent)
    try:
        yield
    finally:
        if held:
            holder.unlink(missing_ok=True)
            # While it is held: whoever gets it next sees that the file is gone, and makes a new one.
            with suppress(PermissionError):  # Windows keeps open files; there filelock removes it
                path.unlink(missing_ok=True)
            lock.release()


def require_unlocked(path: Path) -> None:
    """Check that nobody holds the lock file `path`, which need not exist.

    Raises:
        RunError: another process holds it.
    """
    if path.is_file():
        lock = FileLock(path, timeout=0, fallback_to_soft=False)
        with storage_errors(path):
            if _acquired(lock, path):
                lock.release()


def _acquired(lock: FileLock, path: Path) -> bool:
    """Whether it is held now; False where there are no locks."""
    try:
        lock.acquire()
    except Timeout:
        holder = holder_of(path)
        pid = holder.read_text() if holder.is_file() else "unknown"
        raise RunError(
            f"another process is writing this run (pid {pid}): {path.parent}",
            "Wait until it has ended, or choose another --run-dir.",
        ) from None
    except OSError as error:
        if error.errno not in _UNLOCKABLE:
            raise
        path.unlink(missing_ok=True)
        return False
    return True


def holder_of(path: Path) -> Path:
    """The file that names the process behind a lock: what opens a lock file may empty it."""
    return path.with_name(f"{path.name}.pid")
