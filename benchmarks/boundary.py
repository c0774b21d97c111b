"""What the boundary cache brings: epochs a second after the first, and test accuracy, by the number of kept views.

    python benchmarks/boundary.py textures --out benchmarks/results

For each seed, `few_layers` runs in turns on the plain path (every epoch decodes and augments anew and runs the whole
network) and with K views of each image kept; each in a fresh process. Everything else is the shipped recipe.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from machine import publish
from training_runs import Run, run

GOALS = {"epochs a second, 4 views over plain": 3.0, "points of accuracy lost at most": 1.0}
PLAIN = "plain"


def settings_of(kind: str, *, seed: int, epochs: int) -> tuple[str, ...]:
    kept = ("null", "null") if kind == PLAIN else (kind, "4096")
    return (
        f"strategy.cached_views={kept[0]}",
        f"runtime.cache_mib={kept[1]}",
        f"seed={seed}",
        f"budget.epochs={epochs}",
    )


def page(data: str, runs: Mapping[str, Sequence[Run]], *, epochs: int, device: str) -> str:
    plain = runs[PLAIN]
    lines = [
        f"# The boundary cache on {data}, {device}",
        "",
        f"`few_layers`, {epochs} epochs, {len(plain)} seeds: median of the speeds, mean of the accuracies.",
        "",
        "| views | epochs a second after the first | over plain, seed by seed | whole run, s | accuracy | points |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in runs.items():
        times = [mine.epochs_per_second / other.epochs_per_second for mine, other in zip(found, plain, strict=True)]
        points = [100 * (mine.test_accuracy - other.test_accuracy) for mine, other in zip(found, plain, strict=True)]
        lines.append(
            f"| {kind} | {statistics.median(each.epochs_per_second for each in found):.4f} "
            f"| {', '.join(f'{ratio:.2f}' for ratio in times)} "
            f"| {statistics.median(each.seconds for each in found):.0f} "
            f"| {statistics.mean(each.test_accuracy for each in found):.4f} "
            f"| {statistics.mean(points):+.1f} ({min(points):+.1f} to {max(points):+.1f}) |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--views", type=int, nargs="+", default=[4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="folder for boundary-DATA-DEVICE.json and .md")
    options = parser.parse_args()
    runs: dict[str, list[Run]] = {kind: [] for kind in (PLAIN, *map(str, options.views))}
    for seed in range(options.seeds):
        for kind, found in runs.items():
            settings = settings_of(kind, seed=seed, epochs=options.epochs)
            found.append(run("few_layers", options.data, *settings, device=options.device))
            print(f"seed {seed}, {kind}: {found[-1].epochs_per_second:.4f} epochs/s", file=sys.stderr)
    text = page(options.data.name, runs, epochs=options.epochs, device=options.device)
    print(text)
    if options.out:
        rows = {
            kind: [
                {"seconds": each.seconds, "epochs_per_second": each.epochs_per_second, "test": each.test_accuracy}
                for each in found
            ]
            for kind, found in runs.items()
        }
        publish(options.out, f"boundary-{options.data.name}-{options.device}", {"goals": GOALS, "runs": rows}, text)


if __name__ == "__main__":
    main()
