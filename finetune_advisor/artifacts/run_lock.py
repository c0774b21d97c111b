"""One writer at a time: a lock on a run folder that dies with the process that holds it."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from finetune_advisor.artifacts.storage import storage_errors
from finetune_advisor.errors import RunError

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

_UNLOCKABLE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What disks answer that know no locks."""

_held: set[int] = set()
"""Descriptors of the locks of this process."""


def _close_in_child() -> None:
    """A forked process shares its parent's locks, and would keep them when the parent is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, whose folder exists, while the block runs; the file is removed afterwards.

    Where the system or the disk knows no locks, this is logged and the block runs without one.

    Raises:
        RunError: another process holds it.
        StorageError: the file cannot be written.
    """
    with storage_errors(path):
        descriptor = _acquired(path)
    if descriptor is None:
        log.warning("%s is not locked (this system or disk has no locks): start no second run there.", path.parent)
        yield
        return
    _held.add(descriptor)
    try:
        yield
    finally:
        # While the lock is held: whoever gets it next sees that the file is gone and makes a new one.
        path.unlink(missing_ok=True)
        _held.discard(descriptor)
        os.close(descriptor)


def require_unlocked(path: Path) -> None:
    """Check that nobody holds the lock file `path`, which need not exist.

    Raises:
        RunError: another process holds it.
    """
    if not path.is_file():
        return
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR)
    try:
        _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _acquired(path: Path) -> int | None:
    """Descriptor of the locked file, None where there are no locks."""
    if sys.platform == "win32":
        return None
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with ExitStack() as closing:
            closing.callback(os.close, descriptor)
            if not _lock(descriptor, path):
                path.unlink(missing_ok=True)
                return None
            if _is_open_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                closing.pop_all()
                return descriptor


def _is_open_at(descriptor: int, path: Path) -> bool:
    """Whether the file is still the one at this path: its last holder may have removed it since it was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; False where there are no locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode() or "unknown"
        raise RunError(
            f"another process is writing this run (pid {holder}): {path.parent}",
            "Wait until it has ended, or choose another --run-dir.",
        ) from None
    except OSError as error:
        if error.errno not in _UNLOCKABLE:
            raise
        return False
    return True
