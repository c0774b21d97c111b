"""`finetune-advisor run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from finetune_advisor import processes
from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import LISTING, Bars, err, out, progress, set_up_logging
from finetune_advisor.cli.options import (
    LARGEST_SEED,
    NO_PLOT,
    DeviceName,
    DeviceOption,
    JsonOption,
    PlotOption,
    QuietOption,
    VerboseOption,
    Verbosity,
)
from finetune_advisor.errors import RunError
from finetune_advisor.records.history import Record, summary
from finetune_advisor.training.watch import Progress, Watcher

RUNS = Path("runs")

if TYPE_CHECKING:
    from finetune_advisor.recipes.recipe import Recipe
    from finetune_advisor.records.rundir import RunDir, RunPlace


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
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Sweep the learning rate, draw lr-<name>.svg, and keep nothing else.")
    ] = False,
    profile: Annotated[
        Path | None,
        typer.Option(help="The analysis to keep with the run; analysis/profile.json beside the recipe if not given."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Short for --set seed=N.")] = None,
    plot: PlotOption = False,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Execute a recipe: train, score, and write a run folder with the model.

    Examples: finetune-advisor run
    · finetune-advisor run few_layers --set data.path=./data --set budget.epochs=3
    · finetune-advisor run --run-dir runs/data-1 --resume
    · torchrun --nproc-per-node 2 -m finetune_advisor run
    """
    main = processes.is_main()
    verbosity = Verbosity(quiet or not main, verbose and main)
    set_up_logging(verbosity)
    processes.barrier()  # from here on a mistake that only one of them meets is told
    if find_lr:
        _require_alone(resume=resume, dry_run=dry_run, run_dir=run_dir)
    target = _resumed(run_dir, recipe, overrides, seed, profile) if resume else _new(recipe, overrides, run_dir, seed)
    if target.complete:
        if main:
            _show_complete(target.complete, quiet=quiet, as_json=as_json)
        return
    if dry_run:
        _show_plan(target.recipe, torch_device(device), as_json=as_json)
        return
    if find_lr:
        _find_lr(target.recipe, torch_device(device), verbosity, as_json=as_json)
        return
    finished = _execute(target, profile, torch_device(device), verbosity, as_json=as_json)
    if not main:
        return
    if as_json:
        _print_json(finished)
    elif not quiet:
        from finetune_advisor.cli.render import render_run

        if plot:
            err.print(NO_PLOT)
        out.print(render_run(finished))


@dataclass(frozen=True)
class _Target:
    """Which recipe to execute, and where."""

    recipe: Recipe
    place: RunPlace
    file: Path | None = None
    """The file the recipe comes from, where it is new and a person's own."""
    resume: bool = False
    complete: RunDir | None = None
    """The run to resume, where nothing is left to do."""


def _new(recipe: str | None, overrides: list[str] | None, run_dir: Path | None, seed: int | None) -> _Target:
    from finetune_advisor.recipes.load import is_shipped, load_recipe
    from finetune_advisor.records.rundir import NumberedRun, RunDir

    if recipe is None and not Path("recipe.yaml").is_file():
        raise RunError(
            "There is no recipe.yaml here.",
            "Write one with `finetune-advisor analyze DATA`, or name a recipe: finetune-advisor run RECIPE.",
        )
    source = recipe or "recipe.yaml"
    loaded = load_recipe(source, [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])])
    place = RunDir(run_dir) if run_dir else NumberedRun(RUNS, loaded.name)
    return _Target(loaded, place, file=None if is_shipped(source) else Path(source))


def _resumed(
    run_dir: Path | None, recipe: str | None, overrides: list[str] | None, seed: int | None, profile: Path | None
) -> _Target:
    from finetune_advisor.recipes.load import load_recipe
    from finetune_advisor.records.rundir import RunDir, latest_run

    if recipe is not None or overrides or seed is not None or profile is not None:
        raise RunError(
            "--resume takes the recipe and its analysis from the run folder, as they were.",
            "Leave out the recipe, --set, --seed and --profile; to change something, start a new run.",
        )
    run = RunDir(run_dir) if run_dir else latest_run(RUNS)
    run.require_begun()
    return _Target(load_recipe(run.recipe), run, resume=True, complete=run if run.finished and run.drawn else None)


def _execute(target: _Target, profile: Path | None, device: str, verbosity: Verbosity, *, as_json: bool) -> RunDir:
    from finetune_advisor.workflows.run import profile_beside, profile_of, run_and_draw

    beside = profile_beside(target.file, target.recipe) if target.file and profile is None else None
    with progress(verbosity, waiting=None if as_json else LISTING) as bars:
        return run_and_draw(
            target.recipe,
            target.place,
            profile=profile_of(profile, target.recipe) if profile else beside,
            resume=target.resume,
            device=device,
            watcher=watcher_on_screen(bars, verbosity, announce=not (verbosity.quiet or as_json)),
        )


def _show_complete(run: RunDir, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        _print_json(run)
    if not quiet:
        note = f"{escape(str(run.path))} is finished; there is nothing left to do."
        err.print(note, highlight=False, soft_wrap=True)


def _print_json(run: RunDir) -> None:
    from finetune_advisor.records.diagnosis import Diagnosis

    diagnosis = Diagnosis.load(run.diagnosis).model_dump() if run.diagnosis.is_file() else None
    out.print_json(data={"run": str(run.path), **run.load_metrics(), "diagnosis": diagnosis})


def watcher_on_screen(bars: Bars, verbosity: Verbosity, *, announce: bool) -> Watcher:
    """A watcher that shows progress and records on stderr, and with `announce` where the run folder is."""

    class OnScreen(Watcher):
        def on_images(self, done: int, total: int) -> None:
            bars.show("looking at the images", done, total)

        def on_cached(self, done: int, total: int) -> None:
            bars.show("running the frozen part", done, total)

        def on_folder(self, folder: Path) -> None:
            if announce:
                err.print(f"[dim]run folder:[/] {escape(str(folder))}", highlight=False, soft_wrap=True)

        def on_step(self, progress: Progress) -> None:
            note = f"loss {progress.loss:.3f} · {progress.images_per_second:.0f} images/s"
            bars.show("training", progress.step, progress.steps, note)

        def on_record(self, record: Record) -> None:
            # With --verbose the log, which says the same, is shown.
            if not verbosity.quiet and not verbosity.verbose:
                err.print(_styled(summary(record)), highlight=False)

        def on_refit(self, images: int) -> None:
            if not verbosity.quiet and not verbosity.verbose:
                err.print(f"[dim]once more from the start, on all {images:,} images of training and validation[/]")

    return OnScreen()


def _styled(line: str) -> Text:
    """A record's line with its last accuracy in bold, and what leads to it dimmed."""
    text = Text(line)
    text.highlight_regex(r"^\w+|\S+ images/s$", "dim")
    text.highlight_regex(r"(?<=acc )\S+(?!.*acc )", "bold")
    return text


def _show_plan(recipe: Recipe, device: str, *, as_json: bool) -> None:
    from finetune_advisor.cli.render import render_plan
    from finetune_advisor.training.plan import plan_run

    plan = plan_run(recipe, device=device)
    if not processes.is_main():
        return
    if as_json:
        out.print_json(data=plan.as_json())
    else:
        out.print(render_plan(plan))


def _require_alone(*, resume: bool, dry_run: bool, run_dir: Path | None) -> None:
    if resume or dry_run or run_dir is not None:
        raise RunError(
            "--find-lr sweeps a recipe and writes no run folder.",
            "Leave out --resume, --dry-run and --run-dir.",
        )


def _find_lr(recipe: Recipe, device: str, verbosity: Verbosity, *, as_json: bool) -> None:
    from finetune_advisor.cli.render import render_range_test
    from finetune_advisor.workflows.run import find_lr_and_draw

    picture = Path(f"lr-{recipe.name}.svg")
    with progress(verbosity) as bars:
        watcher = watcher_on_screen(bars, verbosity, announce=False)
        test = find_lr_and_draw(recipe, picture, device=device, watcher=watcher)
    if as_json:
        out.print_json(data={**test.as_json(), "picture": str(picture)})
    else:
        out.print(render_range_test(test, picture))
