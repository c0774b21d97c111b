"""Where commands write: results to `out`, everything else to `err`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from finetune_advisor import processes
from finetune_advisor.cli.options import Verbosity

out = Console()
err = Console(stderr=True)


class _ToErr(logging.Handler):
    """Log records as lines on stderr, above a running progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
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
def progress(verbosity: Verbosity) -> Iterator[Bars]:
    """Progress bars on stderr while the block runs; not with `--quiet`, off a terminal, or beside the main process."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}[/]"),
        TimeRemainingColumn(compact=True),
        console=err,
        transient=True,
        disable=verbosity.quiet or not err.is_terminal or not processes.is_main(),
    )
    with bars:
        yield Bars(bars)


class Bars:
    """Bars by name; one appears when it is first told about."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move the bar called `name`."""
        if name not in self._tasks:
            self._progress.start()
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, total=total, note=note)

    def hide(self) -> None:
        """Take all bars off the screen, to print a result; the next one that is shown comes back."""
        self._progress.stop()
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()
