"""Where commands write: results to `out`, everything else to `err`.

A stream that is not UTF-8 (cp1252, latin-1, ASCII) stops no command: `accept_any_letter` gives what it cannot hold
another form, and JSON holds escapes there.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from json import dumps, loads
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from finetune_advisor import processes
from finetune_advisor.cli.options import Verbosity


class _Console(Console):
    def print_json(self, json: str | None = None, *, data: Any = None, **settings: Any) -> None:
        """One JSON document; letters are JSON's escapes where the stream is not UTF-8 or a name is no text."""
        value = data if json is None else loads(json)
        escaped = not is_utf8(self.file) or _holds_bytes(dumps(value, ensure_ascii=False))
        super().print_json(data=value, ensure_ascii=escaped, **settings)


out = _Console()
err = _Console(stderr=True)

_ANY_LETTER = "finetune_advisor_any_letter"
"""Our error handler for streams, by the name that Python's codecs know it under."""

_PLAIN = {
    **{chr(code): "+" for code in range(0x2500, 0x2580)},  # corners and crossings of boxes
    **{chr(code): "#" for code in range(0x2580, 0x25A0)},  # blocks
    **{chr(code): "*" for code in range(0x2801, 0x2900)},  # the dots of a drawn curve
    **dict.fromkeys("─━═╌╍┄┅┈┉–—−‐‑", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("\u2800\u00a0\u202f", " "),
    **dict(zip("·•●○×✗✓←→❱‘’“”≈", ".*oxxx+<>>''\"\"~", strict=True)),
    "…": "...",
    "±": "+/-",
    "≥": ">=",
    "≤": "<=",
}
"""What our own words, tables and drawings are made of, in ASCII; of the same width where a table depends on it."""


def _plain_letter(error: UnicodeError) -> tuple[str | bytes, int]:
    """The first letter that a stream cannot hold in another form: plain, as the byte it is, or as an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter, behind = error.object[error.start], error.start + 1
    if "\udc80" <= letter <= "\udcff":  # how Python holds a byte of a file's name that is not UTF-8
        return bytes([ord(letter) - 0xDC00]), behind
    return _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode(), behind


codecs.register_error(_ANY_LETTER, _plain_letter)


def accept_any_letter() -> None:
    """Let stdout and stderr take every letter, whatever the terminal is set to."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ANY_LETTER)


def is_utf8(stream: object) -> bool:
    """Whether a text stream holds every letter as it is; one in memory does."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name == "utf-8"


def _holds_bytes(text: str) -> bool:
    """Whether there are bytes of names in it that are not UTF-8, which JSON cannot hold as they are."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def write_all() -> None:
    """Let stdout write all or fail: with PYTHONUNBUFFERED, what a full disk does not take of a write is dropped."""
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        encoding, raw = sys.stdout.encoding, sys.stdout.detach()
        assert isinstance(raw, io.RawIOBase), "as above"
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, line_buffering=True)


def give_up_stdout() -> None:
    """Drop what stdout still holds and could not write: Python would try once more at its end, and complain."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


LISTING = "listing the images"

_PATIENCE = 1.0
"""Seconds without a word after which a person is shown that something happens."""


class _ToErr(logging.Handler):
    """Log records as lines on stderr, above a running progress bar; what is said of the data's layout, once."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._notes: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "finetune_advisor.images.sources":
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
