"""Where commands write: results to `out`, everything else to `err`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from finetune_advisor import processes
from finetune_advisor.cli.options import Verbosity

out = Console()
err = Console(stderr=True)


LISTING = "listing the images"

_PATIENCE = 1.0
"""Seconds without a word after which a person is shown that something happens."""


class _ToErr(logging.Handler):
    """Log records as lines on stderr, above a running progress bar; what is said of the data's layout, once."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._notes: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "finetune_advisor.data.sources":
            if record.getMessage() in self._notes:
                return
            self._notes.add(record.getMessage())
        style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "dim")
        text = escape(self.format(record))
        err.print(f"[{style}]{record.levelname.lower()}:[/] {text}", highlight=False, soft_wrap=True)


def set_up_logging(verbosity: Verbosity) -> None:
    """Show warnings, or with `--verbose` everything this package logs, or with `--quiet` errors alone."""
    package = logging.getLogger("finetune_advisor")
    package.handlers[:] = [handler for handler in package.handlers if not isinstance(handler, _ToErr)]
    handler = _ToErr(level=verbosity.log_level)
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(
        handler if verbosity.log_level <= logging.INFO else logging.NullHandler()
    )


@contextmanager
def listing_sign(verbosity: Verbosity, *, as_json: bool = False) -> Iterator[None]:
    """A sign of life on stderr while the block lists images, if that takes more than a moment."""
    with progress(verbosity, waiting=None if as_json else LISTING):
        yield


@contextmanager
def progress(verbosity: Verbosity, *, waiting: str | None = None) -> Iterator[Bars]:
    """Progress bars on stderr while the block runs; not with `--quiet`, off a terminal, or beside the main process.

    Args:
        waiting: what is shown after a second without a bar, until there is one; None shows nothing.
    """
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        _Done(),
        TextColumn("[dim]{task.fields[note]}[/]"),
        TimeRemainingColumn(compact=True),
        console=err,
        transient=True,
        disable=verbosity.quiet or not err.is_terminal or not processes.is_main(),
    )
    shown = Bars(bars)
    timer = None if waiting is None or bars.disable else threading.Timer(_PATIENCE, shown.wait, [waiting])
    with bars:
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield shown
        finally:
            if timer is not None:
                timer.cancel()
            shown.hide()


class _Done(MofNCompleteColumn):
    """How much of how much; nothing where the end is not known."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class Bars:
    """Bars by name; one appears when it is first told about."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._waiting: TaskID | None = None
        self._over = False
        self._lock = threading.Lock()

    def wait(self, name: str) -> None:
        """Show that something happens whose end is not known, unless a bar was there before."""
        with self._lock:
            if not self._over:
                self._progress.start()
                self._waiting = self._progress.add_task(name, total=None, note="")

    def _end_waiting(self) -> None:
        with self._lock:
            self._over = True
            if self._waiting is not None:
                self._progress.remove_task(self._waiting)
                self._waiting = None

    def show(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move the bar called `name`."""
        if not self._over:
            self._end_waiting()
        if name not in self._tasks:
            self._progress.start()
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def hide(self) -> None:
        """Take all bars off the screen, to print a result; the next one that is shown comes back."""
        self._end_waiting()
        self._progress.stop()
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()
