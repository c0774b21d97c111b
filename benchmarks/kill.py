"""Kill a real run with SIGKILL again and again, resume it, and compare the final weights bit by bit.

    python benchmarks/kill.py [--times 20] [--out benchmarks/results]

The images are drawn here. Half of the kills come at random moments of a run; the other half as soon as the temporary
file of a checkpoint is seen, that is, while it is written. Dropout, moving BatchNorm statistics and a plateau schedule
are on, and views are cached. CPU only: on a GPU two runs differ in the last bits by themselves.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine import publish
from PIL import Image

EPOCHS, STEPS_PER_EPOCH = 6, 3
SETTINGS = (
    "backbone.name=mobilenetv3_small_050",
    "backbone.weights=random",
    "preprocessing.size=64",
    "runtime.workers=1",
    f"budget.epochs={EPOCHS}",
    "optimizer.batch=6",
    "strategy.batch_norm=train",
    "strategy.cached_views=4",
    "regularization=[{kind: dropout, rate: 0.5}, {kind: l2, strength: 0.01, decoupled: true}]",
    "schedule={kind: plateau, factor: 0.5, patience: 0, threshold: 0.5}",
)
LONGEST = 600.0
ATTEMPTS = 8


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it."""

    when: str
    steps_done: int
    """By the history at that moment."""
    inside_checkpoint: bool
    """Whether a half written checkpoint was left."""
    identical: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kills = kill_often(Path(folder), times=arguments.times)
    same = sum(kill.identical for kill in kills)
    inside = sum(kill.inside_checkpoint for kill in kills)
    rows = "\n".join(
        f"| {kill.when} | {kill.steps_done} | {'yes' if kill.inside_checkpoint else ''} | "
        f"{'yes' if kill.identical else '**no**'} |"
        for kill in kills
    )
    text = (
        f"# Killed and resumed\n\n{same} of {len(kills)} bit-identical; {inside} of the kills came while a checkpoint "
        "was written.\n\n| when | steps in the history | inside a checkpoint | same bits |\n|---|---|---|---|\n"
        f"{rows}\n"
    )
    print(text)
    publish(arguments.out, "kill", {"kills": [asdict(kill) for kill in kills]}, text)
    sys.exit(same < len(kills))


def kill_often(folder: Path, *, times: int) -> list[Kill]:
    """Run once in peace, then `times` runs that are killed once each and resumed."""
    draw_images(folder / "images")
    whole = folder / "whole"
    if _begin(folder, whole).wait(LONGEST):
        raise SystemExit("the run that nobody kills failed")
    seconds = (whole / "metrics.json").stat().st_mtime - (whole / "splits.csv").stat().st_mtime
    rng = random.Random(0)
    return [_kill_once(folder, number, rng, seconds=seconds, expected=_digest(whole)) for number in range(times)]


def _kill_once(folder: Path, number: int, rng: random.Random, *, seconds: float, expected: str) -> Kill:
    """Kill one run and resume it; one that ended before it was hit does not count and is tried again."""
    for attempt in range(ATTEMPTS):
        run = folder / f"{number}-{attempt}"
        process = _begin(folder, run)
        if number % 2:
            epochs = rng.randint(0, EPOCHS - 1)
            when = f"writing a checkpoint, after epoch {epochs} or later"
            _wait_for_checkpoint(process, run, epochs)
        else:
            moment = rng.uniform(0.0, seconds)
            when = f"{moment:.2f} s after the run began"
            _wait(process, run / "splits.csv", moment)
        process.send_signal(signal.SIGKILL)
        if process.wait(LONGEST) == -signal.SIGKILL:
            break
    else:
        raise SystemExit(f"no run could be hit: {when}")
    inside = bool(list(run.glob("checkpoints/.*.tmp*")))
    steps = STEPS_PER_EPOCH * _epochs_done(run)
    if not (run / "recipe.yaml").is_file():
        # Killed before there was anything to resume, it is begun again.
        run = run.with_name(f"{run.name}-again")
        finished = _begin(folder, run).wait(LONGEST) == 0
    else:
        finished = _begin(folder, run, resume=True).wait(LONGEST) == 0
    tidy = not list(run.glob("**/.*.tmp*"))
    return Kill(when, steps, inside, finished and tidy and _digest(run) == expected)


def _begin(folder: Path, run: Path, *, resume: bool = False) -> subprocess.Popen[bytes]:
    settings = ["data.path=" + str(folder / "images"), *SETTINGS]
    new = ["few_layers", *(word for setting in settings for word in ("--set", setting))]
    command = [sys.executable, "-m", "finetune_advisor", "run", *(["--resume"] if resume else new)]
    return subprocess.Popen([*command, "--run-dir", str(run), "--device", "cpu", "--quiet"])


def _wait(process: subprocess.Popen[bytes], path: Path, seconds: float) -> None:
    """Wait until a file is there, and then so many seconds, or until the process has ended."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and process.poll() is None:
        time.sleep(0.002)


def _wait_for_checkpoint(process: subprocess.Popen[bytes], run: Path, epochs: int) -> None:
    """Wait until so many epochs are done, and then for the first half written checkpoint that is seen."""
    while _epochs_done(run) < epochs and process.poll() is None:
        time.sleep(0.002)
    checkpoints = run / "checkpoints"
    while process.poll() is None:
        if checkpoints.is_dir() and any(path.name.startswith(".") for path in checkpoints.iterdir()):
            return


def _epochs_done(run: Path) -> int:
    history = run / "history.jsonl"
    return len(history.read_text().splitlines()) if history.is_file() else 0


def _digest(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def draw_images(root: Path, classes: Sequence[str] = ("ants", "bees")) -> None:
    """Ten noisy images of each class: sixteen to train on, three steps an epoch."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(10):
            noise_HWC = rng.normal(90 + 70 * place, 40.0, (48, 48, 3))
            Image.fromarray(noise_HWC.clip(0, 255).astype(np.uint8)).save(root / name / f"{number}.png")


if __name__ == "__main__":
    main()
