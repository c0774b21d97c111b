"""`finetune-advisor demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from finetune_advisor.cli.console import out, progress, set_up_logging
from finetune_advisor.cli.options import DeviceName, DeviceOption, QuietOption, Verbosity, torch_device


def demo(
    folder: Annotated[Path, typer.Option("--dir", help="Where to write images, recipe and run.")] = Path("demo"),
    device: DeviceOption = DeviceName.auto,
    quiet: QuietOption = False,
) -> None:
    """The whole story on real images that are already here: analyze, run, predict. No network.

    The images are 1,797 scans of handwritten digits that ship with scikit-learn.
    """
    verbosity = Verbosity(quiet)
    set_up_logging(verbosity)
    from finetune_advisor.cli.render import render_analysis, render_predictions, render_run
    from finetune_advisor.workflows import demo as run_demo

    name = torch_device(device)
    with progress(verbosity) as bars:
        shown = run_demo(folder, device=name, progress=bars.show)
    if quiet:
        return
    analysis, run = shown.analysis, shown.run
    data, recipe, run_dir = (escape(str(path)) for path in (shown.data, shown.recipe, run.path))
    out.print(f"[bold]1[/] {shown.images} scans of digits are now in {data}", highlight=False)
    out.print(f"\n[bold]2[/] finetune-advisor analyze {data} -o {recipe}", highlight=False)
    out.print(render_analysis(analysis.profile, analysis.advice, shown.recipe, shown.recipe.parent / "analysis"))
    out.print(f"\n[bold]3[/] finetune-advisor run {recipe} --run-dir {run_dir}", highlight=False)
    out.print(render_run(run))
    images = escape(str(shown.asked[0].parent))
    out.print(f"\n[bold]4[/] finetune-advisor predict {run_dir} {images}/*.png", highlight=False)
    out.print(render_predictions(shown.predictions, shown.classes))
    out.print(
        f"\n[bold]Where to look next[/]\n"
        f"  {recipe}   every line with its reason: change one and run again\n"
        f"  {run_dir}/figures/   curves and confusion matrix\n"
        f"  finetune-advisor analyze YOUR_FOLDER",
        highlight=False,
    )
