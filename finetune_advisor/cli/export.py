"""`finetune-advisor export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.markup import escape

from finetune_advisor.cli.console import out, set_up_logging
from finetune_advisor.cli.options import JsonOption, QuietOption, Verbosity
from finetune_advisor.records.ensemble import ExportForm
from finetune_advisor.text import counted

if TYPE_CHECKING:
    from finetune_advisor.images.sources.unlabeled import Stream
    from finetune_advisor.workflows.export import Exported


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run, or an ensemble.")],
    form: Annotated[
        ExportForm,
        typer.Option(
            "--format",
            help="safetensors: weights and config.json. onnx: one file from pixels to probabilities. "
            "hub: a folder in timm's hub layout, with a model card. Where timm has no network of this shape, "
            "the folder also holds model.onnx.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="File (onnx) or folder to write; RUN/export/... if not given.")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Images to compare model and export on; some that the run was scored on if not given."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the model for use elsewhere, and check that it gives the same predictions there.

    Example: finetune-advisor export runs/data-1 --format onnx -o model.onnx
    """
    set_up_logging(Verbosity(quiet))
    from finetune_advisor.images.sources.unlabeled import image_blocks
    from finetune_advisor.records.rundir import RunDir
    from finetune_advisor.workflows.export import export as export_run

    named = next(image_blocks(images, cast("Stream", sys.stdin.buffer))) if images else []
    done = export_run(RunDir(run), form, out=output, images=named)
    if as_json:
        out.print_json(data=_as_json(done))
    elif not quiet:
        for title, text in _lines(done):
            out.print(f"[bold]{title:<10}[/]{escape(text)}", highlight=False, soft_wrap=True)


def _lines(done: Exported) -> Iterator[tuple[str, str]]:
    """What is printed, each line with its title."""
    yield "Wrote", str(done.path)
    if done.onnx not in (None, done.path):
        yield "", "with model.onnx: timm has no network of this shape, so use that where this package is not installed"
    kind = "real image" if done.real else "noise image"
    yield (
        "Checked",
        f"on {counted(done.images, kind)}: the same class on {done.same_class}, "
        f"largest difference of a probability {done.largest_difference:.1e}",
    )
    if done.onnx == done.path:
        for number, step in enumerate(done.steps, start=1):
            yield "" if number > 1 else "Input", f"{number}. {step}"
        yield (
            "Example",
            "a Python program that does this is in the file's metadata, under `example` (docs/use.md)",
        )


def _as_json(done: Exported) -> dict[str, object]:
    return {
        "path": str(done.path),
        "images": done.images,
        "real_images": done.real,
        "same_class": done.same_class,
        "largest_difference": done.largest_difference,
        "onnx": None if done.onnx is None else str(done.onnx),
        "steps": list(done.steps),
    }
