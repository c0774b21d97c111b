"""`finetune-advisor predict`: predictions as CSV, JSON lines or one JSON document, written as they come."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer
from rich.markup import escape

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import err, is_utf8, listing_sign, set_up_logging
from finetune_advisor.cli.options import (
    BatchOption,
    DeviceName,
    DeviceOption,
    JsonOption,
    PathColumnOption,
    QuietOption,
    Verbosity,
)
from finetune_advisor.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finetune_advisor.images.sources.unlabeled import Stream
    from finetune_advisor.inference.run import Classification

_DIGITS = 6
"""Of a probability."""

_FIXED = ("path", "prediction", "probability", "error")
"""The first columns of a table."""

_AS_BYTES, _AS_ESCAPES = "surrogateescape", "backslashreplace"
"""What `open` makes of names that are not UTF-8: in a table their bytes as they are on the disk; in JSON, which has
to stay valid, its escapes, as in a run's own files."""


class Format(StrEnum):
    """What `--format` takes."""

    csv = "csv"
    jsonl = "jsonl"


@dataclass
class Written:
    """How many answers there are so far, and how many files could not be read."""

    answers: int = 0
    unread: int = 0


@dataclass(frozen=True)
class Answers:
    """How answers are written: every class with its probability, or the `top` most probable ones."""

    classes: tuple[str, ...]
    top: int | None

    def write_file(self, answers: Iterable[Classification], path: Path, *, form: Format | None) -> Written:
        """`write` to a file that is whole or not there.

        Raises:
            StorageError: it cannot be written.
        """
        from finetune_advisor.storage.files import atomic_path

        errors = _AS_BYTES if form is Format.csv else _AS_ESCAPES
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors=errors) as stream:
            return self.write(answers, stream, form=form)

    def write_stdout(self, answers: Iterable[Classification], *, form: Format | None) -> Written:
        """`write` to stdout: a table is UTF-8 whatever the terminal is set to, JSON is UTF-8 or plain ASCII."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            if form is Format.csv:
                sys.stdout.reconfigure(encoding="utf-8", errors=_AS_BYTES)
            else:
                sys.stdout.reconfigure(errors=_AS_ESCAPES)
        return self.write(answers, sys.stdout, form=form)

    def write(self, answers: Iterable[Classification], stream: TextIO, *, form: Format | None) -> Written:
        """Write each answer when it is there; `form` None is one JSON document."""
        written = Written()
        escaped = not is_utf8(stream)
        for text in self._texts(self._counted(answers, written), stream, form, escaped=escaped):
            stream.write(text)
            stream.flush()
        return written

    def _counted(self, answers: Iterable[Classification], written: Written) -> Iterator[Classification]:
        for answer in answers:
            written.answers += 1
            written.unread += answer.problem is not None
            yield answer

    def _texts(
        self, answers: Iterator[Classification], stream: TextIO, form: Format | None, *, escaped: bool
    ) -> Iterator[str]:
        match form:
            case Format.csv:
                table = csv.writer(stream, lineterminator="\n")
                table.writerow([*_FIXED, *self._columns()])
                for answer in answers:
                    table.writerow(self._cells(answer))
                    yield ""
            case Format.jsonl:
                for answer in answers:
                    yield json.dumps(self._row(answer), ensure_ascii=escaped) + "\n"
            case None:
                yield "["
                for number, answer in enumerate(answers):
                    yield f"{',' if number else ''}\n  {json.dumps(self._row(answer), ensure_ascii=escaped)}"
                yield "\n]\n"

    def _columns(self) -> list[str]:
        """Of CSV, after the fixed ones."""
        from finetune_advisor.records.predictions import class_columns

        if self.top is None:
            return class_columns(self.classes, _FIXED)
        return [f"{what}_{place}" for place in range(2, self.top + 1) for what in ("prediction", "probability")]

    def _cells(self, answer: Classification) -> list[Any]:
        row = self._row(answer)
        shown: dict[str, float] = row["classes"] or {}
        if self.top is None:
            rest: list[Any] = [shown.get(name) for name in self.classes]
        else:
            rest = list(chain.from_iterable(list(shown.items())[1:]))
            rest += [None] * (len(self._columns()) - len(rest))
        return [*(row[column] for column in _FIXED), *rest]

    def _row(self, answer: Classification) -> dict[str, Any]:
        shown = answer.probabilities.items() if self.top is None else answer.top(self.top)
        return {
            "path": str(answer.path),
            "prediction": answer.label,
            "probability": None if answer.probability is None else round(answer.probability, _DIGITS),
            "error": answer.problem,
            "classes": {name: round(value, _DIGITS) for name, value in shown} or None,
        }


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, an ensemble, or an exported model.")],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Images, folders of images, globs, tables with a column `path`; - reads paths from stdin.",
        ),
    ],
    output: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to stdout.")] = None,
    form: Annotated[Format, typer.Option("--format", help="CSV, or one JSON object per line.")] = Format.csv,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many classes, the most probable first.")] = None,
    path_column: PathColumnOption = None,
    batch: BatchOption = 32,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Class names and probabilities for images, with the preprocessing of the training.

    A file that cannot be read is named in its row, and the others go on; the exit code is then 1. Answers are written
    as they come, and memory does not grow with the number of images.

    Examples: finetune-advisor predict runs/data-1 ./new "more/*.jpg" -o answers.csv
    · find /photos -name "*.jpg" | finetune-advisor predict runs/data-1 - --top 3 --format jsonl
    """
    set_up_logging(Verbosity(quiet))
    from finetune_advisor.images.sources.unlabeled import image_blocks
    from finetune_advisor.inference.run import Run

    with listing_sign(Verbosity(quiet), as_json=as_json):
        blocks = image_blocks(paths, cast("Stream", sys.stdin.buffer), path_column=path_column)
    opened = Run.open(run, device=torch_device(device))
    found = (answer for block in blocks for answer in opened.stream(block, batch=batch))
    answers, written_as = Answers(opened.classes, top), None if as_json else form
    if output is None:
        written = answers.write_stdout(found, form=written_as)
    else:
        written = answers.write_file(found, output, form=written_as)
        if not quiet:
            note = f"{counted(written.answers, 'answer')} written to {escape(str(output))}"
            err.print(note, highlight=False, soft_wrap=True)
    if written.unread:
        unread = f"{written.unread} of {counted(written.answers, 'file')} could not be read"
        err.print(f"[yellow]{unread}[/]; the reason is in `error`.")
        raise typer.Exit(1)
