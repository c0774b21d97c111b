"""What a person sees in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from finetune_advisor.advice.rules import RARE_CLASS_RATIO, amount_sentence, similarity_sentence
from finetune_advisor.advice.table import MEANING, TOP
from finetune_advisor.cli.table_map import table_map
from finetune_advisor.data.wording import counted
from finetune_advisor.techniques.strategy import LinearProbe, StageProbe

if TYPE_CHECKING:
    from finetune_advisor.advice.advise import Advice
    from finetune_advisor.artifacts.profile import Profile
    from finetune_advisor.artifacts.recipe import Recipe
    from finetune_advisor.artifacts.rundir import RunDir
    from finetune_advisor.inference import Prediction
    from finetune_advisor.training.plan import Plan

BAR = 28
WORST_CLASSES = 10
MISSED_CLASSES = 0.05
"""Accuracy less balanced accuracy from which it is said that rare classes are missed."""

MOST_NAMES = 3
"""Files named per finding; profile.json has them all."""


def render_analysis(profile: Profile, advice: Advice, recipe: Path, folder: Path) -> RenderableType:
    """The place in the table, the probes, three lines of why, the expectation, the findings, what to do next."""
    return Group(
        _headline(profile),
        Text(),
        table_map(profile),
        Text(),
        _why(profile),
        Text(),
        _probe_bars(profile, advice.recipe),
        Text(),
        _expectation(profile, advice),
        _findings(profile),
        Text(),
        _next(recipe, folder),
    )


def _headline(profile: Profile) -> Text:
    counts = " · ".join(f"{name} {count.images:,}" for name, count in profile.splits.items())
    line = Text.assemble(
        (Path(profile.data).name, "bold"), f"  {profile.images:,} images in {len(profile.classes)} classes"
    )
    return line.append(f"  ({counts})", "dim")


def _why(profile: Profile) -> Text:
    assert profile.cell is not None
    return Text.assemble(
        ("Why\n", "bold"),
        f"  {amount_sentence(profile)}\n",
        f"  {similarity_sentence(profile)}\n",
        f"  Together: {profile.cell}, {MEANING[profile.cell]}.",
    )


def _probe_bars(profile: Profile, recipe: Recipe) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    chosen = _chosen_probes(recipe)
    mark = "← the recipe" if isinstance(recipe.strategy, LinearProbe) else "← least log loss"
    low = min(probe.accuracy for probe in profile.probes)
    floor = max(0.0, low - 0.1)
    for probe in profile.probes:
        filled = round(BAR * (probe.accuracy - floor) / max(1 - floor, 1e-9))
        style = "bold green" if probe.stage in chosen else "cyan"
        bar = Text("━" * filled, style).append("─" * (BAR - filled), "bright_black")
        note = Text(mark, "green") if probe.stage in chosen else Text()
        table.add_row(Text(f"  {probe.stage}"), bar, Text(f"{probe.accuracy:.3f} ± {probe.std:.3f}"), note)
    return Group(
        Text.assemble(("Linear classifiers at each stage", "bold"), ("  accuracy on held-out folds", "dim")), table
    )


def _chosen_probes(recipe: Recipe) -> tuple[str, ...]:
    strategy = recipe.strategy
    if isinstance(strategy, LinearProbe):
        return (TOP,)
    if isinstance(strategy, StageProbe):
        return ("all",) if strategy.stages == "all" else strategy.stages
    return ()


def _expectation(profile: Profile, advice: Advice) -> Text:
    expected, strategy = advice.expected, advice.recipe.strategy.kind
    line = Text.assemble(
        ("Expected  ", "bold"),
        f"accuracy {expected.accuracy:.3f} [{expected.low:.3f}, {expected.high:.3f}] on unseen images",
        (f"\n          from {expected.basis}", "dim"),
    )
    if strategy != profile.cell:
        line.append(
            f"\n          The recipe is {strategy}, chosen by hand; the table points to {profile.cell}.", "yellow"
        )
    return line


def _findings(profile: Profile) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for number, (style, text) in enumerate(_sentences(profile) or [("green", _SOUND)]):
        table.add_row(Text("Health   " if number == 0 else "", "bold"), Text("●", style), Text(text))
    return table


_SOUND = "no unreadable files, no exact duplicates, balanced classes"


def _sentences(profile: Profile) -> list[tuple[str, str]]:
    """Color and text of every finding that matters, in the order of harm."""
    health, found = profile.health, []
    if health.bad_files:
        names = [f"{bad.path} ({bad.reason})" for bad in health.bad_files]
        found.append(("yellow", f"{counted(len(names), 'unreadable file')} left out: {_some(names)}"))
    for groups, where in (
        (health.duplicates_across_splits, "more than one split; scores on copies mean little"),
        (health.duplicates_across_classes, "more than one class"),
    ):
        if groups:
            shown = _some([" = ".join(group) for group in groups])
            found.append(("red", f"{counted(len(groups), 'set')} of identical files in {where}: {shown}"))
    if health.exact_duplicates and not (health.duplicates_across_splits or health.duplicates_across_classes):
        sets = counted(len(health.exact_duplicates), "image")
        found.append(("yellow", f"{sets} there more than once, byte for byte"))
    if health.imbalance.ratio >= RARE_CLASS_RATIO:
        balance = health.imbalance
        found.append(("yellow", f"{balance.largest} has {balance.ratio:.0f} times the images of {balance.smallest}"))
    if health.ignored_files:
        found.append(("dim", f"{counted(len(health.ignored_files), 'other file')}: {_some(health.ignored_files)}"))
    return found


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _next(recipe: Path, folder: Path) -> Text:
    line = Text.assemble(
        ("Wrote     ", "bold"), f"{recipe}  with the reason for every choice\n          {folder}/profile.json\n"
    )
    command = "finetune-advisor run" + ("" if str(recipe) == "recipe.yaml" else f" {shlex.quote(str(recipe))}")
    return line.append("Next      ", "bold").append(command, "bold cyan")


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
    notes = [Text(f"{counted(len(bad), 'unreadable file')} left out: {_some(list(bad))}", "yellow")] if bad else []
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
            Text(name),
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
            table.add_row(Text(str(answer.path)), Text(answer.problem or "", "yellow"), "")
        else:
            best = int(answer.probabilities_K.argmax())
            table.add_row(Text(str(answer.path)), Text(classes[best], "bold"), f"{answer.probabilities_K[best]:.3f}")
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
