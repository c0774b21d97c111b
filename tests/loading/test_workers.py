"""Worker processes serve the main one: they outlive no iterator, no main process, and stop for nobody else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from torch.utils.data import _utils

from finetune_advisor.loading.workers import ahead

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups on Windows")

TERMINATED = """
import signal, time
from contextlib import closing
from finetune_advisor.loading.workers import ahead

def make(number):
    time.sleep(0.02)
    return number

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
last = 10**6
with closing(ahead(make, range(last), workers=2)) as made:
    for number in made:
        print(number, flush=True)
        if asked:
            last = min(last, number + 20)
        if number == last:
            break
print("saved", flush=True)
"""

KILLED = """
import time
from finetune_advisor.loading.workers import ahead

def make(number):
    return bytes(3_000_000)

made = ahead(make, range(1000), workers=2)
next(made)
time.sleep(0.5)
print("the workers wait for room in their pipe", flush=True)
time.sleep(100)
"""


@contextmanager
def group(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group of its own; what is left of the group is killed.

    Its pipes are unbuffered: a line that `readline` took too early would be lost to `communicate`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.wait()


def test_sigterm_to_the_group_is_left_to_the_main_process() -> None:
    with group(TERMINATED) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"0\n", b"1\n"]  # both workers are up
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    numbers = [int(line) for line in out.splitlines()[:-1]]
    assert len(numbers) >= 20, "workers go on for as long as the main process asks them to"
    assert numbers == list(range(2, len(numbers) + 2))
    assert out.endswith(b"saved\n")
    assert (err, process.returncode) == (b"", 0)


def test_workers_end_when_the_main_process_is_killed() -> None:
    with group(KILLED) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.kill()
        _, err = process.communicate(timeout=10)  # ends when nobody holds the other end of the pipe any more
    assert err == b""


def test_a_worker_that_hangs_ends_with_the_iterator(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears no SIGTERM, which is how torch would end it."""
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    others = set(multiprocessing.active_children())
    made = ahead(_hang_after_the_first, range(100), workers=1)
    next(made)
    [worker] = set(multiprocessing.active_children()) - others
    time.sleep(0.2)
    made.close()
    worker.join(5)
    assert not worker.is_alive()


def _hang_after_the_first(number: int) -> int:
    if number:
        time.sleep(1000)
    return number
