"""`finetune-advisor predict`."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.markup import escape

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import err, out, set_up_logging
from finetune_advisor.cli.names import AS_BYTES, AS_ESCAPES, accept_any_name
from finetune_advisor.cli.options import DeviceName, DeviceOption, JsonOption, QuietOption, Verbosity
from finetune_advisor.data.wording import counted
from finetune_advisor.errors import DataError

if TYPE_CHECKING:
    from finetune_advisor.inference import Prediction


class Format(StrEnum):
    """What `--format` takes."""

    csv = "csv"
    jsonl = "jsonl"


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Images, folders of images, globs.")],
    output: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to stdout.")] = None,
    form: Annotated[Format, typer.Option("--format", help="CSV, or one JSON object per line.")] = Format.csv,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Class names and probabilities for images, with the preprocessing of the training.

    A file that cannot be read is named in its row, and the others go on; the exit code is then 1.

    Example: finetune-advisor predict runs/data-1 ./new "more/*.jpg" -o answers.csv
    """
    set_up_logging(Verbosity(quiet))
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.data.workers import default_workers
    from finetune_advisor.inference import Predictor

    accept_any_name(as_json=as_json or form is Format.jsonl)
    files = _expand(paths)
    predictor = Predictor.open(RunDir(run), device=torch_device(device))
    rows = (_row(answer, predictor.classes) for answer in predictor.predict(files, workers=default_workers()))
    if as_json:
        unread = _document(list(rows), output)
    elif output is None:
        unread = _write(rows, predictor.classes, form, sys.stdout)
    else:
        unread = _write_file(rows, predictor.classes, form, output)
    if output is not None and not quiet:
        err.print(f"{counted(len(files), 'answer')} written to {escape(str(output))}", highlight=False, soft_wrap=True)
    if unread:
        err.print(f"[yellow]{unread} of {len(files)} files could not be read[/]; the reason is in `error`.")
        raise typer.Exit(1)


def _expand(names: list[str]) -> list[Path]:
    """Files as named, folders as the images below them, globs as what they match; in order.

    Raises:
        DataError: something named does not exist, or nothing is left.
    """
    from finetune_advisor.data.sources.scan import images_below

    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files += images_below(path)
        elif path.exists():
            files.append(path)
        else:
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 (may be absolute)
            if not matches:
                raise DataError(f"There is no file or folder {name}, and no file matches it as a pattern.")
            files += [match for match in matches if match.is_file()]
    if not files:
        raise DataError(f"No images in {', '.join(names)}.")
    return files


def _row(answer: Prediction, classes: tuple[str, ...]) -> dict[str, Any]:
    if answer.probabilities_K is None:
        return {
            "path": str(answer.path),
            "prediction": None,
            "probability": None,
            "error": answer.problem,
            "classes": None,
        }
    best = int(answer.probabilities_K.argmax())
    return {
        "path": str(answer.path),
        "prediction": classes[best],
        "probability": round(float(answer.probabilities_K[best]), 6),
        "error": None,
        "classes": {name: round(float(p), 6) for name, p in zip(classes, answer.probabilities_K, strict=True)},
    }


def _document(rows: list[dict[str, Any]], output: Path | None) -> int:
    """Print or write the rows as one JSON document; returns how many files could not be read."""
    from finetune_advisor.artifacts.rundir import save_json

    if output is None:
        out.print_json(data=rows)
    else:
        save_json(output, rows)
    return _unread(rows)


def _write_file(rows: Iterable[dict[str, Any]], classes: tuple[str, ...], form: Format, output: Path) -> int:
    """`_write` to a file that is whole or not there."""
    from finetune_advisor.artifacts.storage import atomic_path

    errors = AS_ESCAPES if form is Format.jsonl else AS_BYTES
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8", errors=errors) as stream:
        return _write(rows, classes, form, stream)


def _write(rows: Iterable[dict[str, Any]], classes: tuple[str, ...], form: Format, stream: TextIO) -> int:
    """Write the rows as they come; returns how many files could not be read."""
    unread = 0
    table = csv.writer(stream, lineterminator="\n")
    if form is Format.csv:
        table.writerow(["path", "prediction", "probability", "error", *classes])
    for row in rows:
        unread += _unread([row])
        if form is Format.jsonl:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            each = [row["classes"][name] for name in classes] if row["classes"] else [None] * len(classes)
            table.writerow([row["path"], row["prediction"], row["probability"], row["error"], *each])
    return unread


def _unread(rows: Iterable[dict[str, Any]]) -> int:
    return sum(row["error"] is not None for row in rows)
