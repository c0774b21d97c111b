"""How much memory `predict` takes by the number of images: it should be the same for ten times as many.

    python benchmarks/predict_memory.py --images 2000 20000 --out benchmarks/results

Makes small images of noise in a temporary folder (removed at the end), fits a linear probe on a few, and asks it
about the others, in a fresh process for each number, with the folder as argument and with its names on standard input.
Memory is sampled as `memory.py` does it (Linux only).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from machine import publish
from memory import Peak, watched
from PIL import Image

SIDE = 32
INPUT = 64
"""Pixels of the network's input: what is measured here does not hang on it, and small is fast."""

A_FOLDER = 1000
"""Images in one folder of the made-up ones."""

TRAINED_ON = 20
"""Images of each of two classes."""

COMMAND = (sys.executable, "-m", "finetune_advisor")


def make_images(root: Path, count: int, *, seed: int = 0) -> None:
    """Write so many more images of noise, `A_FOLDER` in a folder."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        folder = root / f"{number // A_FOLDER:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels_HWC = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels_HWC).save(folder / f"{number:07d}.png", compress_level=1)


def make_run(root: Path, environment: dict[str, str]) -> Path:
    """A linear probe that tells one noise from another."""
    for name, seed in (("a", 1), ("b", 2)):
        make_images(root / "data" / name, TRAINED_ON, seed=seed)
    settings = [f"data.path={root / 'data'}", f"preprocessing.size={INPUT}", "runtime.workers=0"]
    words = [word for setting in settings for word in ("--set", setting)]
    run = root / "run"
    command = [*COMMAND, "run", "linear_probe", *words, "--run-dir", str(run), "--quiet"]
    subprocess.run(command, env=environment, check=True)
    return run


def measure(count: int, environment: dict[str, str], run: Path) -> list[Peak]:
    """Memory of `predict` on so many images, by either way to name them."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        make_images(folder / "images", count)
        answers = folder / "answers.csv"
        words = [str(run), str(folder / "images"), "-o", str(answers), "--quiet"]
        peaks = [watched(f"{count:,}, a folder", [*COMMAND, "predict", *words], environment)]
        _require_answers(answers, count)
        names = " ".join(COMMAND) + f" predict {run} - -o {answers} --quiet"
        line = f"find {folder / 'images'} -name '*.png' | {names}"
        peaks.append(watched(f"{count:,}, names on standard input", ["bash", "-c", line], environment))
        _require_answers(answers, count)
    return peaks


def _require_answers(answers: Path, count: int) -> None:
    with answers.open() as lines:
        found = sum(1 for _ in lines) - 1
    if found != count:
        raise SystemExit(f"{found} answers for {count} images")


def page(peaks: Sequence[Peak], counts: Sequence[int]) -> str:
    lines = [
        f"# Memory of `predict` on {' and '.join(f'{count:,}' for count in counts)} images of {SIDE} pixels",
        "",
        "| images | seconds | peak RSS, all processes | peak PSS, all processes |",
        "|---|---|---|---|",
    ]
    lines += [f"| {peak.run} | {peak.seconds:.0f} | {peak.rss_gb:.2f} GB | {peak.pss_gb:.2f} GB |" for peak in peaks]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000], help="numbers of images")
    parser.add_argument("--out", type=Path, help="folder for predict_memory.json and .md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(made) / "cache")}
        run = make_run(Path(made), environment)
        peaks = [peak for count in options.images for peak in measure(count, environment, run)]
    text = page(peaks, options.images)
    print(text)
    if options.out:
        publish(options.out, "predict_memory", {"runs": [asdict(peak) for peak in peaks]}, text)


if __name__ == "__main__":
    main()
