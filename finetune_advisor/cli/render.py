"""What a person sees in the terminal of runs, scores and predictions; `render_analysis.py` has the analysis."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from finetune_advisor.data.wording import counted
from finetune_advisor.reporting.names import shown, some

if TYPE_CHECKING:
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.inference import Prediction
    from finetune_advisor.training.plan import Plan

WORST_CLASSES = 10
MISSED_CLASSES = 0.05
"""Accuracy less balanced accuracy from which it is said that rare classes are missed."""

MOST_NAMES = 3
"""Files named of many."""

CLASS_NAME, PATH = 40, 200
"""Columns of a class's name and of a path."""


def render_run(run: RunDir) -> RenderableType:
    """Scores of a finished run and where its files are."""
    metrics = run.load_metrics()
    parts: list[RenderableType] = []
    for split in ("val", "test"):
        if metrics[split]:
            note = f" ({metrics['val_is']})" if split == "val" else ""
            parts.append(_accuracy_line(f"{split}{note}", metrics[split]))
    parts.append(_class_table(metrics["test"] or metrics["val"]))
    seconds = metrics["seconds"]["total"]
    parts.append(Text(f"{metrics['recipe']} in {seconds:.1f} s", "dim"))
    parts.append(Text.assemble(("Wrote     ", "bold"), f"{run.path}/  (model/, metrics.json, figures/, ...)"))
    parts.append(
        Text.assemble(
            ("Next      ", "bold"), (f"finetune-advisor predict {shlex.quote(str(run.path))} IMAGES", "bold cyan")
        )
    )
    return Group(*parts)


def render_scores(scores: dict[str, Any]) -> RenderableType:
    """Scores of one split."""
    bad = scores["bad_files"]
    notes = (
        [
            Text(
                f"{counted(len(bad), 'unreadable file')} left out: {some(list(bad), MOST_NAMES, keep_bytes=True)}",
                "yellow",
            )
        ]
        if bad
        else []
    )
    return Group(_accuracy_line("accuracy", scores), _class_table(scores), *notes)


def _accuracy_line(name: str, scores: dict[str, Any]) -> Text:
    low, high = scores["accuracy_ci95"]
    line = Text.assemble(
        (f"{name:<18}", "bold"),
        (f"{scores['accuracy']:.3f}", "bold green"),
        f" [{low:.3f}, {high:.3f}]",
        (f"  log loss {scores['log_loss']:.3f}  {scores['images']:,} images", "dim"),
    )
    if scores["accuracy"] - scores["balanced_accuracy"] > MISSED_CLASSES:
        balanced = f"\n{'':<18}{scores['balanced_accuracy']:.3f} when every class counts the same: rare ones are missed"
        line.append(balanced, "yellow")
    return line


def _class_table(scores: dict[str, Any]) -> RenderableType:
    present = {name: values for name, values in scores["per_class"].items() if values["images"]}
    worst = list(present.items())
    if len(worst) > WORST_CLASSES:
        worst = sorted(worst, key=lambda item: item[1]["f1"])[:WORST_CLASSES]
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("class" if len(worst) == len(present) else f"worst {len(worst)} of {len(present)} classes")
    for column in ("precision", "recall", "F1", "images"):
        table.add_column(column, justify="right")
    for name, values in worst:
        table.add_row(
            Text(shown(name, CLASS_NAME, keep_bytes=True)),
            _number(values["precision"]),
            _number(values["recall"]),
            _number(values["f1"]),
            f"{values['images']:,}",
        )
    return Padding(table, (0, 0, 0, 16))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def render_predictions(predictions: Sequence[Prediction], classes: tuple[str, ...]) -> RenderableType:
    """A few answers as a table."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("image", "prediction", "probability"):
        table.add_column(column)
    for answer in predictions:
        if answer.probabilities_K is None:
            table.add_row(
                Text(shown(str(answer.path), PATH, keep_bytes=True)), Text(answer.problem or "", "yellow"), ""
            )
        else:
            best = int(answer.probabilities_K.argmax())
            table.add_row(
                Text(shown(str(answer.path), PATH, keep_bytes=True)),
                Text(shown(classes[best], CLASS_NAME, keep_bytes=True), "bold"),
                f"{answer.probabilities_K[best]:.3f}",
            )
    return table


def render_plan(plan: Plan) -> RenderableType:
    """What a run would do."""
    counts = " · ".join(f"{name} {count:,}" for name, count in plan.images.items())
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("group", no_wrap=True)
    for column in ("parameters", "rate"):
        table.add_column(column, justify="right")
    table.add_column("decay")
    table.add_column("stages", no_wrap=True)
    for group in plan.groups:
        rate = "–" if group.lr is None else f"{group.lr:g}"
        style = "dim" if group.name == "frozen" else ""
        decay = "yes" if group.decays else "no"
        table.add_row(
            group.name, f"{group.tensors:,}", f"{group.parameters:,}", rate, decay, _span(group.stages), style=style
        )
    facts = [("cached", plan.cached)]
    if plan.steps is not None and plan.seconds is not None and plan.memory_mib is not None:
        facts += [
            ("steps", f"{plan.steps:,}, {plan.steps_per_epoch:,} an epoch"),
            ("time", f"about {plan.seconds:.0f} s of training here; decoding and evaluation come on top"),
            ("memory", f"{plan.memory_mib:.0f} MiB of parameters, gradients and optimizer; activations come on top"),
        ]
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, "bold"), Text(value))
    return Group(
        Text.assemble((plan.strategy, "bold"), f" of {plan.backbone}: {plan.classes} classes ({counts})"),
        table,
        grid,
        Text("Nothing was trained.", "dim"),
    )


def _span(stages: tuple[str, ...]) -> str:
    return stages[0] if len(stages) == 1 else f"{stages[0]} … {stages[-1]}"
