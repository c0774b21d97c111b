"""How fast a run is beside fastai and beside a loop as a competent person writes it.

    pip install fastai
    python benchmarks/speed.py hymenoptera textures --out benchmarks/results

Same backbone, weights, images and resolution; each in a fresh process, in turns. Two questions:

1. *To fastai's accuracy*: the whole process of `run` with a shipped recipe, against the whole process of fastai's
   `fine_tune` with `EPOCHS` epochs, which is what its documentation starts with. Test accuracies stand beside the
   seconds: a faster run that scores less answers nothing.
2. *Images a second* on the plain path, where every image is decoded, augmented and sent through the whole network,
   against a loop with plain PyTorch, timm and torchvision that trains the same stages with the same batch and as many
   looks at each image; and against the same loop on one batch that lies in memory, which nothing can load faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from machine import publish
from training_runs import run

GOALS = {
    "seconds of ours over fastai's, at its accuracy or better": 0.2,
    "plain path over the loop, images a second": 1.3,
}
EPOCHS, SIDE, BATCH = 5, 224, 32
FASTAI_BATCH = 64
STAGES = ("blocks.4", "blocks.5", "blocks.6", "conv_head", "bn2", "classifier")
"""What `few_layers` trains of the backbone, by the names of timm's modules."""
STEPS = {"cpu": (3, 12), "cuda": (20, 200)}
"""Steps to get warm, and steps that are timed: more than what a loader has read ahead before the first of them."""
COMPILED = {"cpu": (), "cuda": ("true", "reduce-overhead")}
"""Values of `runtime.compile` that the plain path is also timed with."""

Found = dict[str, float]


def fastai_fine_tune(data: Path, device: str) -> Found:
    """`vision_learner(...).fine_tune(5)` with the augmentations that its documentation begins with."""
    import torch
    from fastai.vision.all import (  # type: ignore[import-not-found, unused-ignore]
        ImageDataLoaders,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        vision_learner,
    )

    from finetune_advisor.backbones.bundled import MEAN, RULER, STD, load
    from finetune_advisor.data.sources import open_source

    listing = open_source(data)
    train, tests = ([sample.path for sample in listing.part(split)] for split in ("train", "test"))
    loaders = ImageDataLoaders.from_path_func(
        data,
        train,
        _class_of,
        valid_pct=0.2,
        seed=0,
        item_tfms=Resize(int(SIDE * 1.15)),
        batch_tfms=[*aug_transforms(size=SIDE), Normalize.from_stats(MEAN, STD)],
        bs=FASTAI_BATCH,
        device=torch.device(device),
    )
    seen = {Path(item) for item in (*loaders.train_ds.items, *loaders.valid_ds.items)}
    if seen != set(train):
        raise RuntimeError(
            f"fastai does not train on the {len(train)} training images of {data}, but on {len(seen)} images"
        )
    learner = vision_learner(loaders, RULER, pretrained=False, normalize=False, metrics=accuracy)
    body = {name: value for name, value in load(RULER).items() if not name.startswith("classifier.")}
    learner.model[0].model.load_state_dict(body, strict=False)
    learner.freeze()
    learner.fine_tune(EPOCHS)
    logits = learner.get_preds(dl=loaders.test_dl(tests))[0]
    right = [loaders.vocab[int(row.argmax())] == _class_of(path) for row, path in zip(logits, tests, strict=True)]
    return {"test_accuracy": sum(right) / len(right)}


def _class_of(image: Path) -> str:
    return image.parent.name


def _loop(classes: int, device: str) -> Callable[[Any, Any], None]:
    """One training step as a competent person writes it."""
    import timm
    import torch

    from finetune_advisor.backbones.bundled import RULER, load

    net = timm.create_model(RULER)
    net.load_state_dict(load(RULER))
    net.reset_classifier(classes)
    net.to(device, memory_format=torch.channels_last)
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
    "fastai": fastai_fine_tune,
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


def ours(recipe: str, data: Path, device: str) -> Found:
    done = run(recipe, data, device=device)
    return {"test_accuracy": done.test_accuracy, "seconds": done.seconds}


def plain_path(data: Path, device: str, *settings: str) -> Found:
    plain = ("strategy.cached_views=null", "runtime.cache_mib=null", "budget.epochs=2")
    done = run("few_layers", data, *plain, *settings, device=device)
    speed = done.records[-1].images_per_second
    assert speed is not None, "the plain path trains"
    return {"images_per_second": speed, "seconds": done.seconds}


def measured(data: Path, recipes: Sequence[str], device: str, *, with_fastai: bool) -> dict[str, Found]:
    every: dict[str, Callable[[], Found]] = {recipe: partial(ours, recipe, data, device) for recipe in recipes}
    if with_fastai:
        every["fastai"] = partial(fresh, "fastai", data, device)
    every["plain path"] = partial(plain_path, data, device)
    every |= {kind: partial(fresh, kind, data, device) for kind in ("loop", "synthetic")}
    for mode in COMPILED[device]:
        every[f"plain path, compile: {mode}"] = partial(plain_path, data, device, f"runtime.compile={mode}")
    found = {}
    for what, measure in every.items():
        found[what] = measure()
        print(f"{data.name}, {what}: {found[what]}", file=sys.stderr, flush=True)
    return found


def page(rows: Mapping[str, Mapping[str, Found]], device: str) -> str:
    lines = [f"# Speed beside others, {device}", "", "## To fastai's accuracy, whole processes", ""]
    lines += ["| data | what | seconds | over fastai | test accuracy |", "|---|---|---|---|---|"]
    for data, found in rows.items():
        beside = found.get("fastai")
        for what, values in found.items():
            if "test_accuracy" in values:
                share = f"{values['seconds'] / beside['seconds']:.2f}" if beside else ""
                lines.append(f"| {data} | {what} | {values['seconds']:.0f} | {share} | {values['test_accuracy']:.3f} |")
    lines += ["", "## Images a second in training, `few_layers`, after the start", ""]
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
    parser.add_argument("--recipes", nargs="*", default=["linear_probe", "stage_probe", "few_layers"])
    parser.add_argument("--without-fastai", action="store_true", help="it takes minutes a data set on a CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="folder for speed-DEVICE.json and .md")
    parser.add_argument("--child", choices=tuple(CHILDREN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.data[0], options.device)))
        return
    rows = {
        data.name: measured(data, options.recipes, options.device, with_fastai=not options.without_fastai)
        for data in options.data
    }
    text = page(rows, options.device)
    print(text)
    if options.out:
        publish(options.out, f"speed-{options.device}", {"goals": GOALS, "data": rows}, text)


if __name__ == "__main__":
    main()
