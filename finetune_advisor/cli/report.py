"""`finetune-advisor report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import out, set_up_logging
from finetune_advisor.cli.options import DeviceName, DeviceOption, JsonOption, Verbosity


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run or ensemble.")],
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
) -> None:
    """Write report.html and figures/ again: scores, diagnosis, curves, mistakes, and how to use the model.

    Every run writes them by itself. Names of files and classes are in them as they are.

    Example: finetune-advisor report runs/data-1
    """
    set_up_logging(Verbosity())
    from finetune_advisor.records.rundir import RunDir
    from finetune_advisor.workflows.report import write_run_page

    path = write_run_page(RunDir(run), device=torch_device(device))
    if as_json:
        out.print_json(data={"report": str(path)})
    else:
        out.print(f"Wrote {path}", highlight=False, soft_wrap=True, markup=False)
