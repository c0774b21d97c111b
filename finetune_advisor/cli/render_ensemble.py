"""What a person sees of an ensemble: its members, what it gains and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from finetune_advisor.artifacts.metrics_file import leak_sentence
from finetune_advisor.reporting.names import shown
from finetune_advisor.reporting.sentences import ensemble_gain

if TYPE_CHECKING:
    from finetune_advisor.artifacts.ensemble import Ensemble
    from finetune_advisor.artifacts.rundir import RunDir


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
