"""One writer at a time, also between processes, and no lock that outlives its holder."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_advisor.errors import RunError
from finetune_advisor.storage.lock import locked, require_unlocked

fcntl = pytest.importorskip("fcntl", reason="this system has no locks")

HOLDS = """
import os, sys, time
from pathlib import Path
from finetune_advisor.storage.lock import locked

with locked(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        # Only now is what a forked process does first behind it.
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    sys.stdin.read()
os.kill(child, 9)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@contextmanager
def another_process(lock: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds the lock, and its child, forked meanwhile, which stays when the process is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        yield process, child
    finally:
        process.kill()
        subprocess.run(["kill", "-9", str(child)], check=False, stderr=subprocess.DEVNULL)  # it holds the pipe open
        process.communicate()


def test_a_lock_leaves_nothing_behind_and_can_be_taken_again(lock: Path) -> None:
    for _ in range(2):
        with locked(lock):
            assert lock.is_file()
        assert not lock.exists()


def test_a_second_writer_is_told_who_the_first_is(lock: Path) -> None:
    with another_process(lock) as (process, _):
        attempts: list[Callable[[], object]] = [lambda: locked(lock).__enter__(), lambda: require_unlocked(lock)]
        for attempt in attempts:
            with pytest.raises(RunError, match=rf"another process is writing this run \(pid {process.pid}\)") as caught:
                attempt()
            assert caught.value.hint
        process.communicate("")
        assert not lock.exists()
        with locked(lock):
            pass


def test_a_lock_dies_with_its_process_even_where_its_workers_live_on(lock: Path) -> None:
    with another_process(lock) as (process, _):
        process.kill()
        process.wait()
        assert lock.is_file(), "what is left is only a file"
        require_unlocked(lock)
        with locked(lock):
            pass
    assert not lock.exists()


def test_within_a_process_there_is_one_writer_too(lock: Path) -> None:
    with locked(lock), pytest.raises(RunError, match="another process"), locked(lock):
        pass
    assert not lock.exists()


def test_a_disk_without_locks_is_told_and_used(
    lock: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with caplog.at_level(logging.WARNING), locked(lock):
        assert not lock.exists()
    assert f"{lock.parent} is not locked" in caplog.text
