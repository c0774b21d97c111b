"""What a person sees in the terminal of runs, scores and predictions; `render_analysis.py` has the analysis."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from finetune_advisor.cli.diagnose import render_verdict
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.diagnosis import Diagnosis
from finetune_advisor.records.history import signal_sentence
from finetune_advisor.records.metrics import counted_images, leak_sentence
from finetune_advisor.text import counted, shown, some

if TYPE_CHECKING:
    from pathlib import Path

    from finetune_advisor.inference.predictor import Prediction
    from finetune_advisor.records.history import RangeTest
    from finetune_advisor.records.rundir import RunDir
    from finetune_advisor.training.plan import Plan, PlannedGroup

WORST_CLASSES = 10
MISSED_CLASSES = 0.05
"""Accuracy less balanced accuracy from which it is said that rare classes are missed."""

SPLIT_NAMES = {"test": "test", "val": "validation"}
"""What a key of metrics.json is called in a sentence."""

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
            if leak := leak_sentence(metrics[split], f"{SPLIT_NAMES[split]} images", way_out=True):
                parts.append(Text(leak, "red"))
    split = "test" if metrics["test"] else "validation"
    parts.append(_class_table(metrics["test"] or metrics["val"], f"no {split} images"))
    if run.diagnosis.is_file():
        parts.append(render_verdict(Diagnosis.load(run.diagnosis)))
    seconds = metrics["seconds"]["total"]
    parts.append(Text(f"{metrics['recipe']} in {seconds:.1f} s", "dim"))
    parts.append(Text.assemble(("Wrote     ", "bold"), f"{run.path}/  (report.html, model/, metrics.json, ...)"))
    folder = shlex.quote(str(run.path))
    parts.append(Text.assemble(("Next      ", "bold"), (f"finetune-advisor predict {folder} IMAGES", "bold cyan")))
    wanted = load_recipe(run.recipe).ensemble
    if wanted is not None:
        command = f"finetune-advisor ensemble {folder}"
        parts.append(Text.assemble(" " * 10, (command, "bold cyan"), f"  makes the recipe's ensemble: {wanted.kind}"))
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
    leak = leak_sentence(scores, "images")
    parts = [Text(leak, "red")] if leak else []
    return Group(_accuracy_line("accuracy", scores), *parts, _class_table(scores, "no images"), *notes)


def _accuracy_line(name: str, scores: dict[str, Any]) -> Text:
    low, high = scores["accuracy_ci95"]
    line = Text.assemble(
        (f"{name:<18}", "bold"),
        (f"{scores['accuracy']:.3f}", "bold green"),
        f" [{low:.3f}, {high:.3f}]",
        (f"  log loss {scores['log_loss']:.3f}  {counted_images(scores)}", "dim"),
    )
    if scores["accuracy"] - scores["balanced_accuracy"] > MISSED_CLASSES:
        balanced = f"\n{'':<18}{scores['balanced_accuracy']:.3f} when every class counts the same: rare ones are missed"
        line.append(balanced, "yellow")
    return line


def _class_table(scores: dict[str, Any], absent: str) -> RenderableType:
    """A row for each class, or for the worst of many; `absent` is said of a class that has no images."""
    rows = list(scores["per_class"].items())
    present = [item for item in rows if item[1]["images"]]
    missing = [name for name, values in rows if not values["images"]]
    title = "class"
    notes: list[RenderableType] = []
    if len(rows) > WORST_CLASSES:
        rows = sorted(present, key=lambda item: item[1]["f1"])[:WORST_CLASSES]
        title = f"worst {len(rows)} of {len(present)} classes" if len(rows) < len(present) else title
        if missing:
            notes.append(Text(f"  {absent}: {some(missing, MOST_NAMES, CLASS_NAME, keep_bytes=True)}", "yellow"))
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column(title)
    for column in ("precision", "recall", "F1", "images"):
        table.add_column(column, justify="right")
    for name, values in rows:
        table.add_row(
            Text(shown(name, CLASS_NAME, keep_bytes=True)),
            _number(values["precision"]),
            _number(values["recall"]),
            _number(values["f1"]),
            f"{values['images']:,}" if values["images"] else Text(absent, "yellow"),
        )
    return Padding(Group(table, *notes), (0, 0, 0, 16))


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
    facts = [("cached", plan.cached)]
    if plan.seconds is not None and plan.memory_mib is not None:
        facts += [
            *_duration(plan),
            ("memory", f"{plan.memory_mib:.0f} MiB of parameters, gradients and optimizer; activations come on top"),
        ]
    if plan.signal:
        facts.append(("signal", signal_sentence(plan.signal)))
    facts += [("sizes", remark) for remark in plan.sizing]
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, "bold"), Text(value))
    return Group(
        Text.assemble((plan.strategy, "bold"), f" of {plan.backbone}"),
        Text(f"{counted(plan.classes, 'class', 'classes')} · {counts}", "dim"),
        Text(),
        _group_table(plan.groups),
        Text(),
        grid,
        Text("Nothing was trained.", "dim"),
    )


def _duration(plan: Plan) -> tuple[tuple[str, str], ...]:
    per_epoch = f"{plan.steps_per_epoch:,} an epoch"
    if plan.steps is None:
        fitting = f"as many as fit, which the run times when it begins; {per_epoch}"
        return ("steps", fitting), ("time", f"{plan.seconds:.0f} s for the whole run")
    most = "at most " if any(group.trains_after_epoch for group in plan.groups) else ""
    training = f"{most}about {plan.seconds:.0f} s of training here; decoding and evaluation come on top"
    return ("steps", f"{plan.steps:,}, {per_epoch}"), ("time", training)


def _group_table(groups: Sequence[PlannedGroup]) -> RenderableType:
    """A row for each part of the network; its norms and biases, a group of their own, are counted beside it."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("group", no_wrap=True)
    table.add_column("stages", no_wrap=True)
    for column in ("parameters", "no decay", "rate"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("trains", no_wrap=True)
    parts: dict[str, list[PlannedGroup]] = {}
    for group in groups:
        parts.setdefault(group.name.removesuffix("_norm_bias"), []).append(group)
    for name, members in parts.items():
        first = members[0]
        spared = sum(group.parameters for group in members if not group.decays)
        table.add_row(
            name,
            _span(first.stages),
            f"{sum(group.parameters for group in members):,}",
            "–" if first.lr is None else f"{spared:,}",
            "–" if first.lr is None else f"{first.lr:.3g}",
            _when(first),
            style="dim" if first.trains_after_epoch is None else "",
        )
    return table


def _when(group: PlannedGroup) -> str:
    if group.trains_after_epoch is None:
        return "never"
    if group.lr is None:
        return "in one fit"
    return f"from epoch {group.trains_after_epoch + 1}" if group.trains_after_epoch else "from the start"


def render_range_test(test: RangeTest, picture: Path) -> RenderableType:
    """What a sweep over the learning rate suggests, and the option that takes it up."""
    lines = [Text.assemble(("Wrote     ", "bold"), str(picture))]
    if test.steepest is None or test.tenth_of_lowest is None or test.suggestion is None:
        reason = (
            "The loss does not fall at any rate, so it suggests none. That is so where the classifier starts from "
            "a fitted probe: it is as good as it gets, and only the layers below it have to learn."
        )
        return Group(Text(reason, "yellow"), *lines)
    which = "steepest fall" if test.suggestion == test.steepest else "tenth of the lowest point"
    return Group(
        Text.assemble((f"{'steepest fall':<18}", "bold"), f"{test.steepest:.2g}"),
        Text.assemble((f"{'lowest / 10':<18}", "bold"), f"{test.tenth_of_lowest:.2g}"),
        *lines,
        Text.assemble(
            ("Next      ", "bold"), (f"--set optimizer.lr={test.suggestion:.2g}", "bold cyan"), f"  ({which})"
        ),
    )


def _span(stages: tuple[str, ...]) -> str:
    return stages[0] if len(stages) == 1 else f"{stages[0]} … {stages[-1]}"
