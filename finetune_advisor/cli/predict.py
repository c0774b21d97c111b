"""`finetune-advisor predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.markup import escape

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.answers import Answers, Format
from finetune_advisor.cli.console import err, listing_sign, set_up_logging
from finetune_advisor.cli.options import (
    BatchOption,
    DeviceName,
    DeviceOption,
    JsonOption,
    PathColumnOption,
    QuietOption,
    Verbosity,
)
from finetune_advisor.data.wording import counted

if TYPE_CHECKING:
    from finetune_advisor.data.sources.unlabeled import Stream


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
    from finetune_advisor.data.sources.unlabeled import image_blocks
    from finetune_advisor.run import Run

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
