"""What each part of an advised recipe adds: the recipe as it is written, and with one part after another left out.

    python benchmarks/dropped.py hymenoptera textures --cell few_layers --lines dropped.jsonl --out benchmarks/results

For each data set `analyze --strategy CELL` writes a recipe from the training images; every run trains it with one part
put back to what stands there without the advice, and is scored on the test images. A part that the recipe does not have
is not run. Each run is a line of the file of lines, which goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import publish
from training_runs import run

from finetune_advisor import advise, analyze, place
from finetune_advisor.recipes.load import load_recipe

WHOLE = "the advised recipe"

PARTS: dict[str, tuple[str, ...]] = {
    "second training on the validation images too": ("evaluation.refit=false",),
    "augmentation": ("augmentation=null",),
    "label smoothing": ("loss.label_smoothing=0",),
    "dropout": ("regularization=[{kind: l2, strength: 0.0001, decoupled: true}]",),
    "a head that starts from a probe": ("head.initialization={kind: zeros}",),
    "rate of the pretrained layers by similarity": ("optimizer.body_lr_ratio=0.1",),
    "epochs by the number of images": ("budget.epochs=8",),
}
"""What is left out, and what stands there instead."""

Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", metavar="DATA_DIR", help="none: the page of the lines there are")
    parser.add_argument("--cell", choices=("few_layers", "many_layers"), default="few_layers")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--lines", type=Path, required=True, help="JSON lines, one a run")
    parser.add_argument("--out", type=Path, help="folder for dropped-CELL.json and .md")
    options = parser.parse_args()
    lines = _read(options.lines)
    here = {"cell": options.cell, "size": options.size}
    lines = [line for line in lines if here.items() <= line.items()]
    known = {(line["data"], line["part"], line["seed"]) for line in lines}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        for seed in range(options.seeds):
            for data in options.data:
                for part, settings in _runs(data, options, Path(folder)):
                    if (data.name, part, seed) in known:
                        continue
                    done = run(
                        str(_recipe(data, options, Path(folder))),
                        data,
                        f"seed={seed}",
                        *settings,
                        device=options.device,
                        cache=Path(folder) / "cache",
                    )
                    line = {"data": data.name, "part": part, "seed": seed, "accuracy": done.test_accuracy}
                    line |= {"seconds": round(done.seconds, 1), **here}
                    print(json.dumps(line), flush=True)
                    lines.append(line)
                    with options.lines.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
    text = page(lines, options.cell, options.size)
    print(text)
    if options.out:
        publish(options.out, f"dropped-{options.cell}", {"runs": lines}, text)


def _read(path: Path) -> list[Line]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _recipe(data: Path, options: argparse.Namespace, folder: Path) -> Path:
    """The recipe that is advised for a folder of images in this cell, made once."""
    path = folder / f"{data.name}.yaml"
    if not path.exists():
        profile = place(analyze(data, size=options.size, device=options.device))
        path.write_text(advise(profile, strategy=options.cell).yaml(), encoding="utf-8")
    return path


def _runs(data: Path, options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The recipe as it is, then without each part that it has."""
    yield WHOLE, ()
    path = str(_recipe(data, options, folder))
    whole = load_recipe(path).model_dump()
    for part, settings in PARTS.items():
        if load_recipe(path, settings).model_dump() != whole:
            yield part, settings


def page(lines: Sequence[Line], cell: str, size: int) -> str:
    """What each part adds on each data set, and on average with the standard error over data sets."""
    whole = {(line["data"], line["seed"]): line["accuracy"] for line in lines if line["part"] == WHOLE}
    sets = sorted({data for data, _ in whole})
    text = [
        f"# What each part of an advised `{cell}` recipe adds, at {size} pixels",
        "",
        "Points of test accuracy that the advised recipe is better than the same recipe without the part, mean of the",
        "seeds; `-` where the recipe does not have it. Last the mean over data sets, with its standard error: seeds of",
        "a data set share their test images and are no independent runs.",
        "",
        f"| part | {' | '.join(sets)} | all |",
        f"|---|{'---|' * (len(sets) + 1)}",
        f"| {WHOLE}: accuracy | "
        + " | ".join(
            f"{statistics.fmean(value for (of, _), value in whole.items() if of == data):.3f}" for data in sets
        )
        + " | |",
    ]
    for part in PARTS:
        lead = {
            (line["data"], line["seed"]): 100 * (whole[line["data"], line["seed"]] - line["accuracy"])
            for line in lines
            if line["part"] == part
        }
        cells = [[value for (of, _), value in lead.items() if of == data] for data in sets]
        means = [statistics.fmean(values) if values else None for values in cells]
        shown = ["-" if mean is None else f"{mean:+.1f}" for mean in means]
        text.append(f"| {part} | {' | '.join(shown)} | {_mean([mean for mean in means if mean is not None])} |")
    return "\n".join(text) + "\n"


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "-"
    return f"{statistics.fmean(values):+.1f} ({statistics.stdev(values) / len(values) ** 0.5:.1f})"


if __name__ == "__main__":
    main()
