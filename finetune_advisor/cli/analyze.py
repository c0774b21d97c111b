"""`finetune-advisor analyze`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finetune_advisor.cli.console import out, progress, set_up_logging
from finetune_advisor.cli.options import (
    LARGEST_SEED,
    DeviceName,
    DeviceOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    Verbosity,
    torch_device,
)


class CellName(StrEnum):
    """What `--strategy` takes: the cells of the table."""

    linear_probe = "linear_probe"
    stage_probe = "stage_probe"
    few_layers = "few_layers"
    many_layers = "many_layers"


def analyze(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A folder of class folders, or one with train/ and optionally val/ and test/."
        ),
    ],
    recipe: Annotated[Path, typer.Option("--out", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    report_dir: Annotated[
        Path | None, typer.Option(help="Where the measurements go; analysis/ beside the recipe if not given.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="The timm network to fine-tune.")] = "tf_efficientnet_lite0",
    weights: Annotated[
        str | None,
        typer.Option(help="bundled, hub, random, or a .safetensors or .pth file; bundled if there, else hub."),
    ] = None,
    strategy: Annotated[
        CellName | None, typer.Option(help="Write this cell's recipe, whatever the table says.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seeds split and folds.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recipe that was edited by hand.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure every image again.")] = False,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure the images, choose a recipe, and say why.

    Writes recipe.yaml, every chosen line with its reason, and analysis/profile.json.

    Example: finetune-advisor analyze ./data --backbone resnet50 --weights hub
    """
    verbosity = Verbosity(quiet, verbose)
    set_up_logging(verbosity)
    from finetune_advisor.cli.render import render_analysis
    from finetune_advisor.workflows import analyze_and_advise, require_place

    folder = report_dir or recipe.parent / "analysis"
    require_place(recipe, folder, force=force)
    with progress(verbosity) as bars:
        analysis = analyze_and_advise(
            data,
            backbone=backbone,
            weights=weights,
            strategy=strategy.value if strategy else None,
            seed=seed,
            device=torch_device(device),
            use_cache=not no_cache,
            progress=lambda done, total: bars.show("looking at the images", done, total),
            probe_progress=lambda done, total: bars.show("fitting linear classifiers", done, total),
        )
    analysis.save(recipe, folder)
    if as_json:
        out.print_json(analysis.profile.model_dump_json())
    elif not quiet:
        out.print(render_analysis(analysis.profile, analysis.advice, recipe, folder))
