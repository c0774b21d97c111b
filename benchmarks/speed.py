"""How fast the training loop is beside a loop as a competent person writes it.

    python benchmarks/speed.py hymenoptera textures --out benchmarks/results

Same backbone, weights, images and resolution; each in a fresh process, in turns. Images per second on the plain path,
where every image is decoded, augmented and sent through the whole network, against a loop with plain PyTorch, timm and
torchvision that trains the same stages with the same batch size; and against the same loop on one batch that lies in
memory, which nothing can load faster. Whole runs beside fastai are timed by beside_others.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from machine import publish
from training_runs import run

GOALS = {"plain path over the loop, images per second": 1.3}
SIDE, BATCH = 224, 32
STAGES = ("blocks.4", "blocks.5", "blocks.6", "conv_head", "bn2", "classifier")
"""What `few_layers` trains of the backbone, by the names of timm's modules."""
STEPS = {"cpu": (3, 12), "cuda": (20, 200)}
"""Steps to get warm, and steps that are timed: more than what a loader has read ahead before the first of them."""
COMPILED = {"cpu": (), "cuda": ("true", "reduce-overhead")}
"""Values of `runtime.compile` that the plain path is also timed with."""

Found = dict[str, float]


def _loop(classes: int, device: str) -> Callable[[Any, Any], None]:
    """One training step as a competent person writes it."""
    import timm
    import torch

    from finetune_advisor.backbones.bundled import RULER, load

    net = timm.create_model(RULER)
    net.load_state_dict(load(RULER))
    net.reset_classifier(classes)  # type: ignore[operator]
    net.to(device).to(memory_format=torch.channels_last)
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name.startswith(STAGES)
    optimizer = torch.optim.AdamW((p for p in net.parameters() if p.requires_grad), lr=3e-4)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    def step(x_BCHW: torch.Tensor, label_B: torch.Tensor) -> None:
        x_BCHW = x_BCHW.to(device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            value = loss(net(x_BCHW), label_B.to(device, non_blocking=True))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    net.train()
    return step


def _clock(step: Callable[[Any, Any], None], batches: Iterator[tuple[Any, Any]], device: str) -> Found:
    import torch

    images, start = 0, 0.0
    warm, timed = STEPS[device]
    for number, (x_BCHW, label_B) in enumerate(batches):
        if number == warm:
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
        step(x_BCHW, label_B)
        images += len(x_BCHW) if number >= warm else 0
        if number == warm + timed - 1:
            break
    if device == "cuda":
        torch.cuda.synchronize()
    return {"images_per_second": images / (time.perf_counter() - start)}


def competent_loop(data: Path, device: str) -> Found:
    """torchvision's folder and transforms, a DataLoader with a worker a core, channels_last."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from finetune_advisor.backbones.bundled import MEAN, STD

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE, scale=(0.5, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = datasets.ImageFolder(str(data / "train"), transform)
    loader = DataLoader(
        images, BATCH, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 2, pin_memory=device == "cuda"
    )

    assert len(loader), f"fewer than {BATCH} training images"

    def endless() -> Iterator[tuple[Any, Any]]:
        while True:
            yield from loader

    return _clock(_loop(len(images.classes), device), endless(), device)


def synthetic(data: Path, device: str) -> Found:
    """The same step on one batch that lies on the device."""
    import torch

    x_BCHW, label_B = torch.randn(BATCH, 3, SIDE, SIDE, device=device), torch.zeros(BATCH, dtype=torch.int64)
    classes = sum(entry.is_dir() for entry in (data / "train").iterdir())
    return _clock(_loop(classes, device), iter([(x_BCHW, label_B)] * sum(STEPS[device])), device)


CHILDREN: Mapping[str, Callable[[Path, str], Found]] = {
    "loop": competent_loop,
    "synthetic": synthetic,
}


def fresh(kind: str, data: Path, device: str) -> Found:
    """One of the others in a process of its own, with the seconds of that process."""
    start = time.perf_counter()
    command = [sys.executable, __file__, str(data), "--device", device, "--child", kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": time.perf_counter() - start}


def plain_path(data: Path, device: str, *settings: str) -> Found:
    plain = ("strategy.cached_views=null", "runtime.cache_mib=null", "budget.epochs=2")
    done = run("few_layers", data, *plain, *settings, device=device)
    speed = done.records[-1].images_per_second
    assert speed is not None, "the plain path trains"
    return {"images_per_second": speed, "seconds": done.seconds}


def measured(data: Path, device: str) -> dict[str, Found]:
    every: dict[str, Callable[[], Found]] = {"plain path": partial(plain_path, data, device)}
    every |= {kind: partial(fresh, kind, data, device) for kind in CHILDREN}
    for mode in COMPILED[device]:
        every[f"plain path, compile: {mode}"] = partial(plain_path, data, device, f"runtime.compile={mode}")
    found = {}
    for what, measure in every.items():
        found[what] = measure()
        print(f"{data.name}, {what}: {found[what]}", file=sys.stderr, flush=True)
    return found


def page(rows: Mapping[str, Mapping[str, Found]], device: str) -> str:
    lines = [f"# Training speed, {device}", "", "Images per second, `few_layers`, after the start.", ""]
    lines += ["| data | what | images/s | loop | memory | over loop | over memory |", "|---|---|---|---|---|---|---|"]
    for data, found in rows.items():
        loop, memory = (found[what]["images_per_second"] for what in ("loop", "synthetic"))
        for what, values in found.items():
            if what.startswith("plain path"):
                plain = values["images_per_second"]
                beside = f"{loop:.1f} | {memory:.1f} | {plain / loop:.2f} | {plain / memory:.2f}"
                lines.append(f"| {data} | {what} | {plain:.1f} | {beside} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA_DIR")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="folder for speed-DEVICE.json and .md")
    parser.add_argument("--child", choices=tuple(CHILDREN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.data[0], options.device)))
        return
    rows = {data.name: measured(data, options.device) for data in options.data}
    text = page(rows, options.device)
    print(text)
    if options.out:
        publish(options.out, f"speed-{options.device}", {"goals": GOALS, "data": rows}, text)


if __name__ == "__main__":
    main()
