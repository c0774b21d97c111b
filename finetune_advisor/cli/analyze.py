"""`finetune-advisor analyze`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finetune_advisor import processes
from finetune_advisor.analysis.request import LIMIT
from finetune_advisor.cli.console import LISTING, out, progress, set_up_logging
from finetune_advisor.cli.options import (
    LARGEST_SEED,
    ClassFoldersOption,
    DeviceName,
    DeviceOption,
    JsonOption,
    LabelColumnOption,
    PathColumnOption,
    QuietOption,
    VerboseOption,
    Verbosity,
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
            metavar="DATA",
            help="A folder of class folders, with train/, val/ and test/ above them or not; a CSV, TSV or Parquet with "
            "path,label[,split][,group] or other usual names; a .zip or .tar; hf:NAME.",
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
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of a table whose values (patients) never straddle a split."),
    ] = None,
    path_column: PathColumnOption = None,
    label_column: LabelColumnOption = None,
    merge_classes: Annotated[
        bool,
        typer.Option("--merge-classes", help="Make one class of names like Dog, dog and 'dog '; 0 and 0.0."),
    ] = False,
    class_folders: ClassFoldersOption = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=10, help="Most images to look at; of more, a stratified sample is taken.")
    ] = LIMIT,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seeds split and folds.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a recipe that was edited by hand.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Measure every image again.")] = False,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure the images, choose a recipe, and say why.

    Writes recipe.yaml, every chosen line with its reason, and analysis/: report.html to look at, profile.json with all
    figures, clean.csv without unreadable files and extra copies, review.csv with what wants a look.

    Examples: finetune-advisor analyze ./data
    · finetune-advisor analyze scans.csv --group patient
    · finetune-advisor analyze ./data --backbone resnet50 --weights hub
    · torchrun --nproc-per-node 2 -m finetune_advisor analyze ./data
    """
    verbosity = Verbosity(quiet, verbose)
    set_up_logging(verbosity)
    from finetune_advisor.cli.render_analysis import render_analysis
    from finetune_advisor.workflows.analysis import analyze_and_advise, require_place

    folder = report_dir or recipe.parent / "analysis"
    require_place(recipe, folder, force=force)
    with progress(verbosity, waiting=None if as_json else LISTING) as bars:
        analysis = analyze_and_advise(
            data,
            backbone=backbone,
            weights=weights,
            group=group,
            path_column=path_column,
            label_column=label_column,
            merge_classes=merge_classes,
            class_folders=class_folders.value if class_folders else None,
            strategy=strategy.value if strategy else None,
            seed=seed,
            limit=limit,
            device=device.value,
            use_cache=not no_cache,
            progress=lambda done, total: bars.show("looking at the images", done, total),
            probe_progress=lambda done, total: bars.show("fitting linear classifiers", done, total),
            view_progress=lambda done, total: bars.show("looking at some of them another way", done, total),
        )
    if not processes.is_main():
        return
    analysis.save(recipe, folder)
    if as_json:
        out.print_json(analysis.profile.model_dump_json())
    elif not quiet:
        seconds = analysis.expected_seconds
        out.print(render_analysis(analysis.profile, analysis.advice, recipe, folder, expected_seconds=seconds))
