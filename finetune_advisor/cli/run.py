"""`finetune-advisor run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from finetune_advisor.artifacts.history import Record
from finetune_advisor.cli.console import Bars, err, out, progress, set_up_logging
from finetune_advisor.cli.options import (
    DeviceName,
    DeviceOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    Verbosity,
    torch_device,
)
from finetune_advisor.errors import RunError
from finetune_advisor.training.watch import Progress, Watcher

RUNS = Path("runs")

if TYPE_CHECKING:
    from finetune_advisor.artifacts.recipe import Recipe
    from finetune_advisor.artifacts.rundir import RunDir


def run(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="A recipe file or a shipped recipe; ./recipe.yaml if not given."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable.")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="The run folder; runs/<name>-<n> if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and train nothing.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Short for --set seed=N.")] = None,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Execute a recipe: train, score, and write a run folder with the model.

    Examples: finetune-advisor run
    · finetune-advisor run few_layers --set data.path=./data --set budget.epochs=3
    · finetune-advisor run --run-dir runs/data-1 --resume
    """
    verbosity = Verbosity(quiet, verbose)
    set_up_logging(verbosity)
    from finetune_advisor.cli.render import render_run
    from finetune_advisor.workflows import profile_beside, run_and_draw

    target = _resolve(recipe, overrides, run_dir, resume=resume, seed=seed)
    if target.run.finished and resume:
        _show_finished(target.run, quiet=quiet, as_json=as_json)
        return
    if dry_run:
        _show_plan(target.recipe, torch_device(device), as_json=as_json)
        return
    if not quiet and not as_json:
        err.print(f"[dim]run folder:[/] {escape(str(target.run.path))}", highlight=False, soft_wrap=True)
    with progress(verbosity) as bars:
        finished = run_and_draw(
            target.recipe,
            target.run,
            profile=profile_beside(target.file, target.recipe) if target.file else None,
            resume=resume,
            device=torch_device(device),
            watcher=_watcher(bars, verbosity),
        )
    if as_json:
        _print_json(finished)
    elif not quiet:
        out.print(render_run(finished))


@dataclass(frozen=True)
class _Target:
    recipe: Recipe
    run: RunDir
    file: Path | None


def _resolve(
    recipe: str | None, overrides: list[str] | None, run_dir: Path | None, *, resume: bool, seed: int | None
) -> _Target:
    """Which recipe to execute, in which folder."""
    from finetune_advisor.artifacts.recipe_file import load_recipe, shipped_recipes
    from finetune_advisor.artifacts.rundir import RunDir, latest_run, next_run_dir

    changes = [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])]
    if resume:
        return _resumed(RunDir(run_dir) if run_dir else latest_run(RUNS), recipe, changes)
    if recipe is None and not Path("recipe.yaml").is_file():
        raise RunError(
            "There is no recipe.yaml here.",
            "Write one with `finetune-advisor analyze DATA`, or name a recipe: finetune-advisor run RECIPE.",
        )
    source = recipe or "recipe.yaml"
    loaded = load_recipe(source, changes)
    file = None if source in shipped_recipes() else Path(source)
    return _Target(loaded, RunDir(run_dir) if run_dir else next_run_dir(RUNS, loaded.name), file)


def _resumed(run: RunDir, recipe: str | None, changes: list[str]) -> _Target:
    from finetune_advisor.artifacts.recipe_file import load_recipe

    if recipe is not None or changes:
        raise RunError(
            "--resume takes the recipe from the run folder, as it was.",
            "Leave out the recipe and --set; to change something, start a new run.",
        )
    if not run.recipe.is_file():
        raise RunError(f"{run.path} holds no run to go on with.", "Name its folder with --run-dir.")
    return _Target(load_recipe(run.recipe), run, None)


def _show_finished(run: RunDir, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        _print_json(run)
    if not quiet:
        note = f"{escape(str(run.path))} is finished; there is nothing left to do."
        err.print(note, highlight=False, soft_wrap=True)


def _print_json(run: RunDir) -> None:
    out.print_json(data={"run": str(run.path), **run.load_metrics()})


def _watcher(bars: Bars, verbosity: Verbosity) -> Watcher:
    from finetune_advisor.cli.render import record_line

    class OnScreen(Watcher):
        def on_images(self, done: int, total: int) -> None:
            bars.show("looking at the images", done, total)

        def on_step(self, progress: Progress) -> None:
            note = f"loss {progress.loss:.3f} · {progress.images_per_second:.0f} images/s"
            bars.show("training", progress.step, progress.steps, note)

        def on_record(self, record: Record) -> None:
            if not verbosity.quiet:
                err.print(record_line(record), highlight=False)

    return OnScreen()


def _show_plan(recipe: Recipe, device: str, *, as_json: bool) -> None:
    from finetune_advisor.cli.render import render_plan
    from finetune_advisor.training.plan import plan_run

    plan = plan_run(recipe, device=device)
    if as_json:
        out.print_json(data=plan.as_json())
    else:
        out.print(render_plan(plan))
