"""`finetune-advisor ensemble`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import out, progress, set_up_logging
from finetune_advisor.cli.options import (
    DeviceName,
    DeviceOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    Verbosity,
)
from finetune_advisor.errors import Problem, RecipeError, RunError

if TYPE_CHECKING:
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.techniques.ensembling import Ensembling


class Kind(StrEnum):
    """What `--kind` takes."""

    seeds = "seeds"
    cross_validation = "cross_validation"
    checkpoints = "checkpoints"


def ensemble(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="A finished run, whose further members are trained; or all members."),
    ],
    kind: Annotated[
        Kind | None,
        typer.Option(help="What becomes one; the recipe's `ensemble` if not given. `techniques NAME` explains each."),
    ] = None,
    members: Annotated[int | None, typer.Option(min=2, help="Short for --set ensemble.members=N.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another key, like ensemble.weights=equal; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write; RUN-<kind> if not given.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Train members side by side on Ray: this machine, or RAY_ADDRESS's cluster.")
    ] = False,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Several models as one: a folder that predict, evaluate, export, report and compare take like a run.

    Members are chosen on held-out images; the gain over the best single one is measured on the test images, with its
    interval, and so is the time that it costs. The same command again goes on where it was.

    Examples: finetune-advisor ensemble runs/data-1 --kind seeds --members 5
    · finetune-advisor ensemble runs/data-1 runs/data-2 runs/data-3 --kind cross_validation -o runs/best
    """
    verbosity = Verbosity(quiet, verbose)
    set_up_logging(verbosity)
    from finetune_advisor.artifacts.ensemble import Ensemble
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.cli.render_ensemble import render_ensemble
    from finetune_advisor.cli.run import watcher_on_screen
    from finetune_advisor.workflows.running import ensemble_and_draw

    folders = [RunDir(run) for run in runs]
    technique = _technique(folders[0], kind, members, overrides or [])
    with progress(verbosity) as bars:
        watcher = watcher_on_screen(bars, verbosity, announce=not (quiet or as_json))
        place = RunDir(output) if output else None
        made = ensemble_and_draw(folders, technique, place, device=torch_device(device), watcher=watcher, on_ray=ray)
    found = Ensemble.load(made.ensemble)
    if as_json:
        out.print_json(data={"run": str(made.path), **found.model_dump(mode="json")})
    elif not quiet:
        out.print(render_ensemble(found, made))


def _technique(run: RunDir, kind: Kind | None, members: int | None, overrides: list[str]) -> Ensembling:
    """The recipe's `ensemble` with the changes of the command line, checked like any recipe."""
    from finetune_advisor.artifacts.recipe_file import load_recipe
    from finetune_advisor.workflows.ensemble_members import require_finished

    require_finished(run)
    foreign = [edit for edit in overrides if not edit.startswith("ensemble.")]
    if foreign:
        raise RecipeError(
            [Problem(edit.partition("=")[0], "is no key of `ensemble`", "--set") for edit in foreign],
            "What is trained is the recipe of the run: change it there and run it again.",
        )
    edits = [f"ensemble.kind={kind.value}"] if kind else []
    edits += [f"ensemble.members={members}"] if members else []
    technique = load_recipe(run.recipe, [*edits, *overrides]).ensemble
    if technique is None:
        raise RunError(
            f"The recipe of {run.path} says nothing of an ensemble.", f"Choose one: --kind {' | '.join(Kind)}."
        )
    return technique
