"""Everything that computes, pinned: the same numbers before and after code is moved.

    python benchmarks/pins.py --write          # benchmarks/results/pins.json, from a commit that is trusted
    python benchmarks/pins.py                  # compute again and compare; exit status 1 where anything differs

Images are drawn here. Pinned are the loss after every one of 20 steps, the scores of each evaluation and the digest of
the final weights for each strategy and for techniques that change the loop; scores and chosen strengths of the linear
classifiers; an analysis as JSON; predictions; an ONNX export. Floating-point sums depend on the processor and the
versions of the libraries: compare only on the machine that wrote the file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from machine import stamp
from PIL import Image

PINS = Path(__file__).parent / "results" / "pins.json"
CLASSES, TRAIN, TEST, SIDE = 3, 27, 8, 64
SMALL = (
    "preprocessing.size=64",
    "runtime.workers=0",
    "runtime.precision=float32",
)
LOOP = (*SMALL, "optimizer.batch=8", "optimizer.clip=1.0")
TRAINED = (*LOOP, "budget.epochs=null", "budget.steps=20")
CACHED = "strategy.cached_views=4"
RUNS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "linear probe": ("linear_probe", SMALL),
    "stage probe": ("stage_probe", SMALL),
    "few layers": ("few_layers", (*TRAINED, CACHED)),
    "few layers, whole images": ("few_layers", (*TRAINED, "strategy.cached_views=null")),
    "many layers": ("many_layers", (*TRAINED, CACHED)),
    "all layers": ("all_layers", TRAINED),
    "gradual unfreezing": ("gradual_unfreezing", (*LOOP, "budget.epochs=6")),
    "probe, then fine-tuning": ("probe_then_fine_tune", TRAINED),
    "from scratch": ("from_scratch", TRAINED),
    "mixing": ("few_layers", (*TRAINED, "strategy.cached_views=null", "mixing={kind: cutmix}")),
    "averaging": ("few_layers", (*TRAINED, CACHED, "averaging={kind: ema}")),
    "plateau": (
        "few_layers",
        (*TRAINED, CACHED, "schedule={kind: plateau, factor: 0.5, patience: 0, threshold: 0.5}"),
    ),
    "second training": ("few_layers", (*TRAINED, CACHED, "evaluation.refit=true")),
    "layer decay, SGD, small parts of a batch": (
        "all_layers",
        (*TRAINED, "optimizer={kind: sgd, lr: 0.01, batch: 8, micro_batch: 3, layer_decay: 0.7}"),
    ),
    "recovery": ("few_layers", (*TRAINED, CACHED, "optimizer.lr=1e30", "optimizer.clip=null", "runtime.retries=1")),
}
"""Name -> shipped recipe and what is set in it."""


def draw(folder: Path) -> Path:
    """Images of three classes: stripes of another direction each, in random colors, with noise."""
    rng = np.random.default_rng(0)
    y_HW, x_HW = np.mgrid[:SIDE, :SIDE] / SIDE
    for split, count in (("train", TRAIN), ("test", TEST)):
        for label in range(CLASSES):
            place = folder / split / f"class {label}"
            place.mkdir(parents=True)
            for number in range(count):
                angle = np.pi * (label + rng.uniform(-0.3, 0.3)) / CLASSES
                wave_HW = np.sin(
                    rng.uniform(15, 40) * (np.cos(angle) * x_HW + np.sin(angle) * y_HW) + rng.uniform(0, 6)
                )
                pixels_HWC = 128 + wave_HW[..., None] * rng.uniform(-90, 90, 3) + rng.normal(0, 25, (SIDE, SIDE, 3))
                Image.fromarray(pixels_HWC.clip(0, 255).astype(np.uint8)).save(place / f"{number:02}.png")
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def of_run(recipe: str, settings: tuple[str, ...], data: Path, place: Path) -> dict[str, Any]:
    """Loss of every step, scores of every evaluation, and what is left on disk; or the error that ended the run."""
    import finetune_advisor as fa
    from finetune_advisor.errors import FinetuneAdvisorError
    from finetune_advisor.training.watch import Progress, Watcher

    losses: list[float] = []

    class Trace(Watcher):
        def on_step(self, progress: Progress) -> None:
            losses.append(progress.loss)

    loaded = fa.load_recipe(recipe, [f"data.path={data}", *settings])
    try:
        run = fa.train(loaded, fa.RunDir(place), watcher=Trace())
    except FinetuneAdvisorError as error:
        return {"losses": losses, "error": type(error).__name__}
    metrics = json.loads(run.metrics.read_text())
    records = [asdict(record) for record in run.load_history()]
    timed = ("seconds", "images_per_second")
    return {
        "losses": losses,
        "history": [{key: value for key, value in record.items() if key not in timed} for record in records],
        "weights": digest(run.path / "model" / "model.safetensors"),
        "val": metrics["val"],
        "test": metrics["test"],
        "predictions": digest(run.predictions),
    }


def of_analysis(data: Path) -> dict[str, Any]:
    import finetune_advisor as fa

    profile = json.loads(fa.place(fa.analyze(data, use_cache=False)).model_dump_json())
    for volatile in ("seconds", "speed", "data", "source", "versions"):
        profile.pop(volatile, None)
    advice = fa.advise(fa.place(fa.analyze(data, use_cache=False)))
    return {"profile": profile, "recipe": advice.recipe.model_dump(mode="json", exclude={"data"})}


def of_export(run: Path, data: Path, out: Path) -> dict[str, Any]:
    """Probabilities that the ONNX export gives of the test images."""
    import finetune_advisor as fa

    written = fa.export(fa.RunDir(run), "onnx", out=out)
    predictions = fa.Run.open(run).predict(sorted((data / "test").glob("*/*.png")))
    return {
        "same_class": written.same_class,
        "images": written.images,
        "predictions": [[each.label, each.probabilities] for each in predictions],
    }


def measured() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        data = draw(Path(folder, "images"))
        found: dict[str, Any] = {}
        for number, (name, (recipe, settings)) in enumerate(RUNS.items()):
            found[name] = of_run(recipe, settings, data, Path(folder, f"run-{number}"))
            print(name, found[name].get("weights", found[name].get("error")), file=sys.stderr, flush=True)
        found["analysis"] = of_analysis(data)
        found["export"] = of_export(Path(folder, "run-0"), data, Path(folder, "model.onnx"))
    return dict(json.loads(json.dumps(found)))


def differences(before: Any, after: Any, at: str = "") -> list[str]:
    """Where two values of JSON are not equal, by dotted key."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [line for key in keys for line in differences(before.get(key), after.get(key), f"{at}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for number, (one, other) in pairs for line in differences(one, other, f"{at}[{number}]")]
    return [] if before == after else [f"{at.removeprefix('.')}: {before} is {after} now"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="pin what is computed now")
    options = parser.parse_args()
    found = measured()
    if options.write:
        versions = {name: version(name) for name in ("torch", "timm", "numpy", "scipy", "onnxruntime")}
        made = {**stamp(), "versions": versions}
        PINS.write_text(json.dumps({"made": made, "pins": found}, indent=1) + "\n", encoding="utf-8")
        return
    changed = differences(json.loads(PINS.read_text(encoding="utf-8"))["pins"], found)
    print("\n".join(changed[:60]) or f"{len(found)} pins: all equal")
    raise SystemExit(bool(changed))


if __name__ == "__main__":
    main()
