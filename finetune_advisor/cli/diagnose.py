"""`finetune-advisor diagnose`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from finetune_advisor.backbones.devices import torch_device
from finetune_advisor.cli.console import err, out, set_up_logging
from finetune_advisor.cli.options import NO_PLOT, DeviceName, DeviceOption, JsonOption, PlotOption, Verbosity
from finetune_advisor.errors import StorageError
from finetune_advisor.recipes.dump import flow_text
from finetune_advisor.records.diagnosis import Diagnosis, Finding
from finetune_advisor.text import shown, some


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
    from finetune_advisor.diagnosis.diagnose import edited_recipe
    from finetune_advisor.records.rundir import RunDir
    from finetune_advisor.storage.files import atomic_write
    from finetune_advisor.workflows.report import diagnose_run

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


MOST_NAMES = 5


def render_diagnosis(diagnosis: Diagnosis) -> RenderableType:
    """Every finding with its evidence, its meaning and the edit that follows."""
    parts: list[RenderableType] = [Text(diagnosis.leak, "red")] if diagnosis.leak else []
    if not diagnosis.findings:
        parts.append(Text(diagnosis.healthy, "green"))
    for number, finding in enumerate(diagnosis.findings, start=1):
        parts.append(Text.assemble((f"{number}. ", "bold"), (shown(finding.title, 200), "bold yellow")))
        parts.append(Padding(_body(finding), (0, 0, 0, 3)))
    if diagnosis.refit is not None:
        parts.append(Text(shown(diagnosis.refit, 300), "dim"))
    parts += [Text(f"not looked at: {shown(reason, 300)}", "dim") for reason in diagnosis.unseen]
    return Group(*parts)


def _body(finding: Finding) -> RenderableType:
    lines = [Text(shown(finding.evidence, 500)), Text(finding.meaning, "dim")]
    if finding.names:
        lines.append(Text(some(finding.names, MOST_NAMES)))
    lines += [
        Text.assemble("→ ", (f"{edit.key}: {flow_text(edit.value)}", "bold cyan"), (f"  {edit.reason}", "dim"))
        for edit in finding.edits
    ]
    return Group(*lines)


def render_verdict(diagnosis: Diagnosis) -> RenderableType:
    """The most important thing in a line or two, and the command that mends it."""
    if not diagnosis.findings:
        return Text.assemble(("Diagnosis ", "bold"), (diagnosis.healthy, "green"))
    verdict = Text.assemble(("Diagnosis ", "bold"), (shown(diagnosis.verdict, 500), "yellow"))
    command = f"finetune-advisor diagnose {shlex.quote(diagnosis.run)}"
    command += " --apply better.yaml" if diagnosis.edits else ""
    return Group(verdict, Text.assemble(" " * 10, (command, "bold cyan")))
