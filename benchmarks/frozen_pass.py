"""Images a second of the frozen pass, against a plain loop with timm, and against the network alone.

    python benchmarks/frozen_pass.py textures --out benchmarks/results

Three things are timed, each in a fresh process, in turns, so that other work on the machine meets all of them alike:

- *pass*: `measure` with an empty cache: decoding, every reading of every stage, files in the cache. With and without
  what happens once: building the network and exporting its inference graph.
- *plain*: what a competent person writes with timm: `create_model`, timm's own transform, a DataLoader with two workers
  and batches of 32, `eval()`, `inference_mode()`, the forward pass and nothing else. Building is timed apart as well.
- *memory*: the same frozen network as the pass runs it, all its readings included, on images that are decoded already
  and lie in the memory of the device.

Imports are not timed. The files were just read, so the cache of the disk is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from machine import publish

GOALS = {"pass over plain": 2.5, "pass over memory, on a GPU": 0.9}
PLAIN_BATCH, PLAIN_WORKERS = 32, 2
SUFFIXES = {".jpg", ".jpeg", ".png"}

Timed = dict[str, float]
"""What one process reports."""


def result(images: int, whole: float, once: float) -> Timed:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "images": images,
        "seconds": whole,
        "once_seconds": once,
        "whole": images / whole,
        "without once": images / (whole - once),
        "cpu_seconds": sum(each.ru_utime + each.ru_stime for each in used),
    }


def time_pass(paths: Sequence[Path], device: str) -> Timed:
    from finetune_advisor.features import extract as recorder
    from finetune_advisor.features.extract import measure, ruler
    from finetune_advisor.processes import default_workers

    once = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            nonlocal once
            start = time.perf_counter()
            made = function(*arguments, **settings)
            once += time.perf_counter() - start
            return made

        return call

    for name in ("build", "open_graph_if_worth"):
        setattr(recorder, name, timed(getattr(recorder, name)))
    start = time.perf_counter()
    found = measure(paths, [ruler()], device=device, workers=default_workers())
    whole = time.perf_counter() - start
    assert not found.unreadable, found.unreadable
    return result(len(paths), whole, once)


def time_plain(paths: Sequence[Path], device: str) -> Timed:
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    from finetune_advisor.backbones.bundled import MEAN, RULER, STD, load

    class Images(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            with Image.open(paths[index]) as image:
                return transform(image.convert("RGB"))  # type: ignore[no-any-return]

    start = time.perf_counter()
    net = timm.create_model(RULER)
    net.load_state_dict(load(RULER))
    net.eval().to(device)
    config = timm.data.resolve_model_data_config(net) | {"mean": MEAN, "std": STD}
    transform = timm.data.create_transform(**config, is_training=False)
    once = time.perf_counter() - start
    with torch.inference_mode():
        for x_BCHW in DataLoader(Images(), batch_size=PLAIN_BATCH, num_workers=PLAIN_WORKERS):
            net(x_BCHW.to(device)).cpu()
    return result(len(paths), time.perf_counter() - start, once)


def time_memory(paths: Sequence[Path], device: str) -> Timed:
    import torch

    from finetune_advisor.backbones.build import build
    from finetune_advisor.backbones.frozen import FrozenTrunk
    from finetune_advisor.backbones.inference_graph import open_graph
    from finetune_advisor.features.extract import BATCH, TOGETHER_ON_GPU, ruler
    from finetune_advisor.loading.augmented import eval_views
    from finetune_advisor.loading.batches import normalize
    from finetune_advisor.processes import default_workers

    instrument = ruler()
    preprocess = instrument.preprocess
    batch = BATCH if device == "cpu" else TOGETHER_ON_GPU
    start = time.perf_counter()
    decoded = eval_views(paths, [preprocess], batch=batch, workers=default_workers())
    batches = [made.pixels[preprocess].to(device) for made in decoded]
    backbone = build(instrument.backbone, instrument.weights, size=preprocess.size)
    trunk = FrozenTrunk(backbone, device=device, norm_statistics=True)
    graph = None
    if device == "cpu":
        graph = open_graph(trunk, batches[0], mean=preprocess.mean, std=preprocess.std, keep=False, export=True)

    def look(x_BCHW: torch.Tensor) -> None:
        if graph is not None:
            graph(x_BCHW)
        else:
            trunk(normalize(x_BCHW, preprocess))

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    look(batches[0])
    wait()
    once = time.perf_counter() - start
    for x_BCHW in batches:
        look(x_BCHW)
    wait()
    return result(len(paths), time.perf_counter() - start, once)


KINDS: dict[str, Callable[[Sequence[Path], str], Timed]] = {
    "plain": time_plain,
    "pass": time_pass,
    "memory": time_memory,
}


def fresh(kind: str, data: Path, device: str, images: int | None) -> Timed:
    """One timing in a process of its own, with an empty cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, str(data), "--device", device, "--child", kind]
        if images is not None:
            command += ["--images", str(images)]
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: Timed = json.loads(done.stdout.splitlines()[-1])
    return found


def median(rows: Sequence[Timed], what: str) -> float:
    return statistics.median(row[what] for row in rows)


def ratios(rows: dict[str, list[Timed]], over: str, what: str) -> list[float]:
    """Of each turn: the speed of the pass as a multiple of another's."""
    return [mine[what] / other[what] for mine, other in zip(rows["pass"], rows[over], strict=True)]


def page(data: str, device: str, rows: dict[str, list[Timed]]) -> str:
    turns, images = len(rows["pass"]), int(rows["pass"][0]["images"])
    lines = [
        f"# The frozen pass on {images:,} files of {data}, {device}",
        "",
        f"Images a second, median of {turns} turns; *once* is building the network and exporting its graph.",
        "",
        "| what | all included | without once | seconds for once | CPU ms an image |",
        "|---|---|---|---|---|",
    ]
    for kind, timed in rows.items():
        whole = "" if kind == "memory" else f"{median(timed, 'whole'):.1f}"
        once = "" if kind == "memory" else f"{median(timed, 'once_seconds'):.1f}"
        cpu = "" if kind == "memory" else f"{1e3 * median(timed, 'cpu_seconds') / images:.1f}"
        lines.append(f"| {kind} | {whole} | {median(timed, 'without once'):.1f} | {once} | {cpu} |")
    lines += ["", "| ratio, turn by turn | median | least | most |", "|---|---|---|---|"]
    for name, over, what in (
        ("pass / plain, all included", "plain", "whole"),
        ("pass / plain, without once", "plain", "without once"),
        ("pass / memory, without once", "memory", "without once"),
    ):
        values = ratios(rows, over, what)
        lines.append(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--images", type=int, help="the first so many files only")
    parser.add_argument("--out", type=Path, help="folder for frozen_pass-DATA-DEVICE.json and .md")
    parser.add_argument("--child", choices=tuple(KINDS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        paths = sorted(path for path in options.data.rglob("*") if path.suffix.lower() in SUFFIXES)[: options.images]
        print(json.dumps(KINDS[options.child](paths, options.device)))
        return
    rows: dict[str, list[Timed]] = {kind: [] for kind in KINDS}
    for turn in range(options.turns):
        for kind, timed in rows.items():
            timed.append(fresh(kind, options.data, options.device, options.images))
            print(f"turn {turn}: {kind:6} {timed[-1]['without once']:7.1f} images/s", file=sys.stderr)
    text = page(options.data.name, options.device, rows)
    print(text)
    if options.out:
        found = {"goals": GOALS, "turns": rows}
        publish(options.out, f"frozen_pass-{options.data.name}-{options.device}", found, text)


if __name__ == "__main__":
    main()
