"""`finetune-advisor diagnose`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import err, out, set_up_logging
from finetune_advisor.cli.options import NO_PLOT, DeviceName, DeviceOption, JsonOption, PlotOption, Verbosity
from finetune_advisor.errors import StorageError


def diagnose(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, finished or not; no ensemble.")],
    apply: Annotated[
        Path | None, typer.Option("--apply", metavar="OUT.yaml", help="Write the edited recipe, with its reasons.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recipe that is there.")] = False,
    plot: PlotOption = False,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
) -> None:
    """Read the curves and weights of a run: what went wrong, by which numbers, and what to change in the recipe.

    An ensemble has no curves of its own: name one of its members, whose folders the error lists.

    Example: finetune-advisor diagnose runs/data-1 --apply better.yaml
    """
    set_up_logging(Verbosity())
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.artifacts.storage import atomic_write
    from finetune_advisor.cli.render_diagnosis import render_diagnosis
    from finetune_advisor.diagnosis.diagnose import edited_recipe
    from finetune_advisor.workflows.diagnosing import diagnose_run

    if apply is not None and apply.exists() and not force:
        raise StorageError(f"{apply} is there already", "Give another name, or `--force` to overwrite it.")
    folder = RunDir(run)
    diagnosis = diagnose_run(folder, device=torch_device(device))
    if as_json:
        out.print_json(data=diagnosis.model_dump())
    else:
        if plot:
            err.print(NO_PLOT)
        out.print(render_diagnosis(diagnosis))
    if apply is None:
        return
    atomic_write(apply, edited_recipe(folder, diagnosis, apply.parent))
    if not as_json:
        before, after = shlex.quote(str(folder.recipe)), shlex.quote(str(apply))
        out.print(
            f"\n[bold]Wrote[/]  {escape(str(apply))}\n"
            f"[bold]Next[/]   [bold cyan]{escape(f'finetune-advisor recipes diff {before} {after}')}[/]\n"
            f"       [bold cyan]{escape(f'finetune-advisor run {after}')}[/]",
            highlight=False,
            soft_wrap=True,
        )
