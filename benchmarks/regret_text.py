"""The words of regret.md, from the figures of regret.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
Row = tuple[str, ...]

WRONG = 2.0
"""Points of regret from which a task is looked into; half of that is within the noise of 200 test images."""

TRAINED = ("few_layers", "many_layers")


def markdown(f: Figures) -> str:
    parts = [
        _opening(f),
        _tasks(f),
        _everything(f),
        _against(f),
        _wrong(f),
        _claims(f),
        _time(f),
        _full_size(f),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _opening(f: Figures) -> str:
    fastai = f["against"].get("fastai_fine_tune")
    ahead = None if fastai is None else [fastai["low"], fastai["high"]]
    quicker = "time of analyze + run against"
    rows = [
        ("mean regret against the oracle", *_most(f["mean_regret"], 1.0, f["mean_regret_ci95"])),
        (f"regret of the worst task ({f['worst_task']})", *_most(f["worst_regret"], 4.0)),
        ("accuracy against the best fixed recipe", *_least(f["vs_best_fixed"], 0.5, f["vs_best_fixed_ci95"])),
        ("accuracy against fastai's schedule", *_least(f["vs_fastai"], 3.0, ahead)),
        (f"{quicker} fastai's schedule", *_most(f["time_vs_fastai"], 0.33, unit="times")),
        (f"{quicker} all fixed recipes", *_most(f["time_vs_all"], 0.25, unit="times")),
    ]
    return "\n".join(
        [
            "# Is the advice right, and is it worth it?",
            "",
            f"{len(f['tasks'])} tasks of {len(f['data_sets'])} data sets, {f['units']} pairs of task and seed, "
            f"{len(f['recipes'])} recipes each; intervals are of 95 % and draw whole data sets.",
            "",
            *_table(("what", "measured", "aim", ""), rows),
            "",
            "The oracle is the best of all recipes, chosen on one half of the test images and scored on the "
            "other, both ways round. The best fixed recipe is chosen leaving the task's data set out. Settings: "
            f"{', '.join(f['settings'])}, see [docs/advice.md](../../docs/advice.md). "
            f"Commits: {', '.join(f['commits'])}.",
            *([f"Not run in every task, and left out: {', '.join(f['not_run'])}."] if f["not_run"] else []),
        ]
    )


def _most(value: float | None, aim: float, ends: Sequence[float] | None = None, *, unit: str = "points") -> Row:
    """What was measured, what it should be at most, and the judgment."""
    return _judged(value, aim, ends, unit, "<=")


def _least(value: float | None, aim: float, ends: Sequence[float] | None = None) -> Row:
    return _judged(value, aim, ends, "points", ">=")


def _judged(value: float | None, aim: float, ends: Sequence[float] | None, unit: str, sign: str) -> Row:
    if value is None:
        return ("not run", f"{sign} {aim:g}", "")
    interval = "" if ends is None else f" [{ends[0]:+.2f}, {ends[1]:+.2f}]"
    shown = f"{value:.2f} times" if unit == "times" else f"{value:+.2f}{interval} points"
    short = value - aim if sign == "<=" else aim - value
    return (shown, f"{sign} {aim:g}", "met" if short <= 0 else f"**missed** by {short:.2f}")


def _tasks(f: Figures) -> str:
    rows = [
        (
            task["task"],
            task["images"],
            f"{task['per_effective_class']:.0f}",
            f"{task['similarity']:.2f}",
            ", ".join(dict.fromkeys(task["cells"])),
            f"{task['oracle']:.1f}",
            f"{task['advisor']:.1f}",
            f"{task['regret']:+.1f}",
            f"{task['accuracy'][task['best_fixed']]:.1f} ({task['best_fixed']})",
            task["against_best_fixed"],
        )
        for task in f["tasks"]
    ]
    head = ("task", "images", "a class", "similarity", "advice", "oracle", "advisor", "regret", "best fixed", "")
    return "\n".join(
        [
            "## Task by task",
            "",
            "Accuracy in percent; the number after the data set is images a class.",
            "",
            *_table(head, rows),
        ]
    )


def _everything(f: Figures) -> str:
    recipes = f["recipes"]
    rows = [
        (
            name,
            *(f"{task['accuracy'][name]:.0f}" for task in f["tasks"]),
            f"{recipes[name]['accuracy']:.1f}",
            f"{recipes[name]['regret']:+.1f}",
        )
        for name in sorted(recipes, key=lambda name: -recipes[name]["accuracy"])
    ]
    about = "`advised/` is the recipe that `analyze --strategy` writes for a cell."
    head = ("recipe", *(task["task"] for task in f["tasks"]), "mean", "regret")
    return "\n".join(["## Every recipe", "", about, "", *_table(head, rows)])


def _against(f: Figures) -> str:
    rows = [
        (
            name,
            f"{lead['value']:+.2f} [{lead['low']:+.2f}, {lead['high']:+.2f}]",
            lead["win"],
            lead["tie"],
            lead["loss"],
        )
        for name, lead in (("the best fixed, data set left out", f["against_best_fixed"]), *f["against"].items())
    ]
    text = "The advisor's points over each fixed recipe. A task is a tie unless the paired interval leaves out zero."
    return "\n".join(
        ["## Against each recipe", "", text, "", *_table(("recipe", "points", "win", "tie", "loss"), rows)]
    )


def _wrong(f: Figures) -> str:
    wrong = sorted((task for task in f["tasks"] if task["regret"] > WRONG), key=lambda task: -task["regret"])
    lines = [f"## Where it was wrong, and why ({len(wrong)} tasks lose more than {WRONG:g} points)", ""]
    return "\n".join(lines + [f"- {_why(task)}" for task in wrong])


def _why(task: Mapping[str, Any]) -> str:
    best = max(task["accuracy"], key=task["accuracy"].__getitem__)
    cell = task["cells"][0]
    trained = "probe" not in best.removeprefix("probe_then")
    if cell not in TRAINED and trained:
        reason = (
            f"{task['per_effective_class']:.0f} images a class were called little, and layers were not trained: "
            "at this size and resolution training pays"
        )
    elif cell in TRAINED and not trained:
        reason = "layers were trained where a probe does better: the amount was called plenty too early"
    elif best == cell:
        reason = "the advice adjusted it, and the shipped recipe was better as it is"
    elif "probe" in cell:
        reason = f"the other probe was better: a similarity of {task['similarity']:.2f} chose the wrong column"
    else:
        reason = "another depth or another schedule trained better"
    return f"{task['task']} ({task['regret']:+.1f}): {cell} was taken, {best} was best; {reason}."


def _claims(f: Figures) -> str:
    probes, fixed = f["probes_and_training"], f["against_best_fixed"]
    won, tied, lost = (
        _listed([task for task, seen in probes.items() if seen == word]) for word in ("win", "tie", "loss")
    )
    rows = [
        (
            name,
            f"{rule['accuracy']:.2f}",
            f"{rule['mean']['value']:+.2f}",
            f"{rule['worst']:+.1f} ({rule['worst_task']})",
        )
        for name, rule in f["rules"].items()
    ]
    return "\n".join(
        [
            "## The counter-claims",
            "",
            "**One good recipe beats rules.** Against the best fixed recipe of the other data sets the advice is "
            f"{fixed['value']:+.2f} points [{fixed['low']:+.2f}, {fixed['high']:+.2f}]: {fixed['win']} tasks won, "
            f"{fixed['tie']} tied, {fixed['loss']} lost.",
            "",
            "**A probe beats fine-tuning.** The probe with the best folds against `few_layers`: better on "
            f"{won}; not to be told apart on {tied}; worse on {lost}.",
            "",
            "**What either axis adds.** Every rule but the first is fitted leaving the task's data set out.",
            "",
            *_table(("rule", "accuracy", "mean regret", "worst task"), rows),
            "",
            "**What each trick adds.** Measured by itself, by leaving out one after another: "
            "[dropped-few_layers.md](dropped-few_layers.md).",
        ]
    )


def _time(f: Figures) -> str:
    recipes = f["recipes"]
    rows = [
        (name, f"{recipes[name]['cpu_seconds']:.1f}", f"{recipes[name]['seconds']:.1f}")
        for name in sorted(recipes, key=lambda name: recipes[name]["cpu_seconds"])
    ]
    clock = " and ".join(
        f"{f[key]:.2f} ({name})" for key, name in (("wall_vs_fastai", "fastai"), ("wall_vs_all", "all")) if f[key]
    )
    return "\n".join(
        [
            "## Time",
            "",
            "Ratios above are of processor seconds of whole processes: `analyze` and `run`, each with loading Python "
            f"and torch. The machine was shared with other work; by the clock the ratios are {clock}. Each probe "
            "is charged for the first look at the test images. Below, a run without loading, the mean over tasks:",
            "",
            *_table(("recipe", "processor seconds", "seconds by the clock"), rows),
        ]
    )


def _full_size(f: Figures) -> str:
    lines = f["full_size"]
    if not lines:
        return ""
    rows = [
        (
            line["task"],
            line["images"],
            line["recipe"] if line["cell"] is None else f"{line['recipe']}: {line['cell']}",
            "" if line["accuracy"] is None else f"{100 * line['accuracy']:.1f}",
            f"{line['cpu']:.0f}",
        )
        for line in sorted(lines, key=lambda line: (line["task"], line["cpu"]))
    ]
    text = (
        "At 224 pixels, with the recipes' own durations, on some tasks and recipes: what the small settings above may "
        "hide. Processor seconds without loading; no figure above rests on these runs."
    )
    head = ("task", "images", "recipe", "accuracy", "processor seconds")
    return "\n".join(["## At full size", "", text, "", *_table(head, rows)])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    return [_row(head), "|---" * len(head) + "|", *map(_row, rows)]


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
