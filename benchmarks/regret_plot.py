"""The pictures of the result page: accuracy over images a class, and where in the table training pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Figures = Mapping[str, Any]
Tasks = Sequence[Mapping[str, Any]]

LINES = {
    "oracle": ("black", ":"),
    "advisor": ("tab:blue", "-"),
    "linear_probe": ("tab:green", "--"),
    "few_layers": ("tab:orange", "--"),
    "fastai_fine_tune": ("tab:red", "--"),
}
MARKS = {
    "win": ("probe better", "tab:green", "s"),
    "tie": ("not to be told apart", "0.6", "o"),
    "loss": ("training better", "tab:orange", "^"),
}
"""Of the probe against `few_layers`."""


def draw(found: Figures, out: Path) -> list[Path]:
    """Write both pictures and return their files; the same figures give the same bytes."""
    with plt.rc_context({"svg.hashsalt": "regret", "svg.fonttype": "none", "font.size": 8}):
        return [_saved(_sizes(found), out / "regret_sizes.svg"), _saved(_places(found), out / "regret_table.svg")]


def _sizes(found: Figures) -> Figure:
    by_data: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for task in found["tasks"]:
        by_data[task["data"]].append(task)
    columns = 3
    rows = -(-len(by_data) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, 2.4 * rows), squeeze=False, layout="constrained")
    for axis, (data, tasks) in zip(axes.flat, sorted(by_data.items()), strict=False):
        _size_lines(axis, sorted(tasks, key=lambda task: task["images"]))
        axis.set_title(data)
    for axis in list(axes.flat)[len(by_data) :]:
        axis.set_visible(False)
    axes[-1][0].set(xlabel="images a class", ylabel="test accuracy, %")
    axes[0][0].legend(frameon=False)
    return figure


def _size_lines(axis: Axes, tasks: Tasks) -> None:
    each = [task["per_effective_class"] for task in tasks]
    for name, (color, style) in LINES.items():
        if name in ("oracle", "advisor"):
            heights = [task[name] for task in tasks]
        elif name in tasks[0]["accuracy"]:
            heights = [task["accuracy"][name] for task in tasks]
        else:
            continue
        axis.plot(each, heights, style, color=color, label=name, marker=".", linewidth=1.2)
    axis.set_xscale("log")
    axis.set_xticks(each, [f"{value:.0f}" for value in each], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def _places(found: Figures) -> Figure:
    figure, axis = plt.subplots(figsize=(5.5, 4), layout="constrained")
    seen = found["probes_and_training"]
    for verdict, (label, color, marker) in MARKS.items():
        tasks = [task for task in found["tasks"] if seen.get(task["task"]) == verdict]
        places = [task["per_effective_class"] for task in tasks], [task["similarity"] for task in tasks]
        axis.scatter(*places, color=color, marker=marker, label=f"{label} ({len(tasks)})")
    for task in found["tasks"]:
        place = (task["per_effective_class"], task["similarity"])
        axis.annotate(task["data"], place, xytext=(3, 3), textcoords="offset points", fontsize=6)
    axis.set(xscale="log", xlabel="images a class", ylabel="similarity to ImageNet", ylim=(0, 1.05))
    axis.legend(frameon=False, loc="lower right")
    return figure


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
