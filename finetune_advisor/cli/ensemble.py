"""`finetune-advisor ensemble`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import out, progress, set_up_logging
from finetune_advisor.cli.options import DeviceName, DeviceOption, JsonOption, QuietOption, VerboseOption, Verbosity
from finetune_advisor.errors import Problem, RecipeError, RunError
from finetune_advisor.records.metrics import leak_sentence
from finetune_advisor.reporting.sentences import ensemble_gain
from finetune_advisor.text import shown

if TYPE_CHECKING:
    from finetune_advisor.records.ensemble import Ensemble
    from finetune_advisor.records.rundir import RunDir
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
    from finetune_advisor.cli.run import watcher_on_screen
    from finetune_advisor.records.ensemble import Ensemble
    from finetune_advisor.records.rundir import RunDir
    from finetune_advisor.workflows.run import ensemble_and_draw

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
    from finetune_advisor.recipes.load import load_recipe
    from finetune_advisor.workflows.ensemble import require_finished

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


def render_ensemble(ensemble: Ensemble, folder: RunDir) -> RenderableType:
    """Members with their weights, then the gain with its interval beside the best single one, and the time."""
    gain, cost = ensemble.gain, ensemble.cost
    split = "test" if gain.split == "test" else "validation, which chose the members"
    metrics = folder.load_metrics()
    block = metrics[gain.split] or metrics["val"]
    leak = leak_sentence(block, f"{'test' if gain.split == 'test' else 'validation'} images", way_out=True)
    return Group(
        _members(ensemble),
        Text(),
        Text.assemble(
            (f"{'ensemble':<18}", "bold"), (f"{gain.accuracy:.3f}", "bold green"), _interval(block), f"  {split}"
        ),
        *([Text(leak, "red")] if leak else []),
        Text.assemble((f"{'best single':<18}", "bold"), f"{gain.best_accuracy:.3f}  {shown(gain.best)}"),
        Text.assemble((f"{'gain':<18}", "bold"), ensemble_gain(gain)),
        Text.assemble(
            (f"{'time':<18}", "bold"),
            f"{cost.times:.1f} x: {1000 * cost.seconds:.1f} ms an image, {1000 * cost.best_seconds:.1f} alone",
        ),
        Text.assemble(("Wrote     ", "bold"), f"{folder.path}/  (report.html, model/, ensemble.json, ...)"),
        Text.assemble(
            ("Next      ", "bold"), (f"finetune-advisor predict {shlex.quote(str(folder.path))} IMAGES", "bold cyan")
        ),
    )


def _interval(block: Mapping[str, Any]) -> str:
    low, high = block["accuracy_ci95"]
    return f" [{low:.3f}, {high:.3f}]"


def _members(ensemble: Ensemble) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("member")
    where = f"on {ensemble.held_out:,} held-out images" if ensemble.held_out else "held out"
    for column in ("weight", f"accuracy {where}", "log loss"):
        table.add_column(column, justify="right")
    for member in sorted(ensemble.members, key=lambda member: -member.weight):
        table.add_row(
            Text(shown(member.name)),
            f"{member.weight:.2f}" if member.weight else "–",
            f"{member.accuracy:.3f}",
            f"{member.log_loss:.3f}",
            style="" if member.weight else "dim",
        )
    return table
