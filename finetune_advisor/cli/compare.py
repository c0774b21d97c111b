"""`finetune-advisor compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetune_advisor.cli.console import out, set_up_logging
from finetune_advisor.cli.options import JsonOption, Verbosity


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of finished runs or ensembles.")],
    as_json: JsonOption = False,
) -> None:
    """Compare runs on the images they share: who leads, by how much, whether that may be chance; time, size, recipes.

    Example: finetune-advisor compare runs/data-1 runs/data-2
    """
    set_up_logging(Verbosity())
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.cli.render_comparison import render_comparison
    from finetune_advisor.comparison import compare as compare_runs

    comparison = compare_runs([RunDir(run) for run in runs])
    if as_json:
        out.print_json(data=comparison.as_json())
    else:
        out.print(render_comparison(comparison))
