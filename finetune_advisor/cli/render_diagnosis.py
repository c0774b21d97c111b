"""What a person sees of a diagnosis in the terminal."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from finetune_advisor.artifacts.diagnosis import Diagnosis, Finding
from finetune_advisor.artifacts.recipe_dump import flow_text
from finetune_advisor.reporting.names import shown, some

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
