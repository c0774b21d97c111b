"""`finetune-advisor demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import out, progress, set_up_logging
from finetune_advisor.cli.options import DeviceName, DeviceOption, QuietOption, Verbosity

if TYPE_CHECKING:
    from finetune_advisor.workflows.demo import DemoStep


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where to write images, recipe and run.")] = Path("demo"),
    device: DeviceOption = DeviceName.auto,
    quiet: QuietOption = False,
) -> None:
    """The whole story on real images that are already here: analyze, run, predict. No network.

    The images are 1,797 scans of handwritten digits that ship with this package.
    """
    verbosity = Verbosity(quiet)
    set_up_logging(verbosity)
    from finetune_advisor.workflows.demo import demo as run_demo

    name = torch_device(device)
    with progress(verbosity) as bars:
        for number, step in enumerate(run_demo(folder, device=name, progress=bars.show), start=1):
            bars.hide()
            if not quiet:
                _show(number, step, folder)
    if not quiet:
        place = escape(str(folder))
        out.print(
            f"\n[bold]Where to look next[/]\n"
            f"  {place}/recipe.yaml   change a line, and the next demo runs it\n"
            f"  {place}/runs/   a folder per run: model, scores, curves and confusion matrix\n"
            f"  finetune-advisor analyze YOUR_FOLDER",
            highlight=False,
        )


def _show(number: int, step: DemoStep, folder: Path) -> None:
    from finetune_advisor.cli.analyze import render_analysis
    from finetune_advisor.cli.render import render_predictions, render_run
    from finetune_advisor.workflows import demo as steps

    data, recipe = folder / "digits", folder / "recipe.yaml"
    match step:
        case steps.DemoImages(count, _):
            _title(number, f"{count:,} scans of digits are in {data}")
        case steps.DemoAnalysis(analysis, _, report, kept):
            _title(number, f"finetune-advisor analyze {data} -o {recipe}")
            seconds = analysis.expected_seconds
            out.print(render_analysis(analysis.profile, analysis.advice, recipe, report, expected_seconds=seconds))
            if kept:
                out.print("[yellow]You edited the recipe: it is kept, and run as it is.[/]")
        case steps.DemoRun(run):
            _title(number, f"finetune-advisor run {recipe}")
            out.print(render_run(run))
        case steps.DemoAnswers(predictions, classes):
            _title(number, f"finetune-advisor predict RUN {data}/test")
            out.print(render_predictions(predictions, classes))


def _title(number: int, text: str) -> None:
    start = "" if number == 1 else "\n"
    out.print(f"{start}[bold]{number}.[/] [bold cyan]{escape(text)}[/]", highlight=False)
