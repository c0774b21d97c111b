"""Ctrl-C and SIGTERM: between steps, when the state can be saved, and at any other moment of a run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from finetune_advisor.errors import Interrupted
from finetune_advisor.records.rundir import RunDir


class StopRequest:
    """Whether somebody asked the run to stop; `signal_name` says how."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM inside the block into a request that is looked at between steps.

    A second one acts at once, as KeyboardInterrupt. Outside the main thread signals are left alone.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if request:
            raise KeyboardInterrupt(signal.Signals(number).name)
        request.signal_name = signal.Signals(number).name

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def resumable(run: RunDir) -> Iterator[None]:
    """Say how to go on when the block is interrupted.

    Raises:
        Interrupted: in place of a KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        kept = run.finished or run.last.is_file()
        saved = "what was saved is whole" if kept else "nothing is trained yet, and it starts over"
        raise Interrupted(
            f"Stopped by {name_of(interrupt)} before the run was finished; {saved}.", hint_for(run)
        ) from interrupt


def hint_for(run: RunDir) -> str:
    """What an interrupted person does next."""
    return f"Go on with: {run.resume_command}"


def sigterm_as_ctrl_c() -> None:
    """From now on SIGTERM raises KeyboardInterrupt, as Ctrl-C does; processes forked later die of it as usual."""
    owner = os.getpid()

    def act(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if os.getpid() == owner:
            raise KeyboardInterrupt(signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, act)


def name_of(interrupt: KeyboardInterrupt) -> str:
    """What raised it."""
    return str(interrupt.args[0]) if interrupt.args else "Ctrl-C"
