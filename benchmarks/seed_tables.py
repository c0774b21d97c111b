"""The figures on the slides, measured again.

    .venv/bin/python benchmarks/seed_tables.py DATA_DIR --tables bcd --out benchmarks/results
    .venv/bin/python benchmarks/seed_tables.py DATA_DIR --tables a --device cuda --seeds 3
    .venv/bin/python benchmarks/seed_tables.py DATA_DIR --quick --out FOLDER      # shows that all of it works

a: five activations in the NIN on CIFAR-10 (needs a GPU: hours on a CPU). b: regularizers on MNIST. c: He against
1/sqrt(n) in a 22-layer net. d: variance through 10 layers. e: augmentation in fine-tuning. DATA_DIR holds
cifar10.tar.gz, mnist10k.tar.gz and hymenoptera/. Every run is a line of seed_tables.jsonl, with what made it; runs that
are there are not run again, so an interrupted script goes on. At the end seed_tables.md puts our figures next to those
of the slides.

Settings were fixed beforehand, from the slides and their sources, and are the same for all rows of a table; test images
are scored once, after training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from machine import stamp
from seed_plot import draw
from seed_report import report
from seed_training import Course, Images, Mlp, images_of, score, train
from torch import nn

from finetune_advisor.backbones.variant import Variant, alter
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.activation import Activation, LeakyRelu, Prelu, Relu, Rrelu
from finetune_advisor.techniques.initialization import (
    Calibrated,
    Gaussian,
    He,
    Initialization,
    Uniform,
    UnitVariance,
    Zeros,
)
from finetune_advisor.techniques.regularization import L1, L2, KlSparsity, MaxNorm, Regularization
from finetune_advisor.training.start import measure_signal, scale_to_unit_variance
from finetune_advisor.training.trainer import train as run_recipe

ACTIVATIONS: dict[str, Activation] = {
    "ReLU": Relu(),
    "Leaky ReLU, a = 100": LeakyRelu(a=100.0),
    "Leaky ReLU, a = 5.5": LeakyRelu(a=5.5),
    "PReLU": Prelu(),
    "RReLU": Rrelu(),
}
DECAY = L2(strength=1e-4, decoupled=False)
NONE, HALF = (0.0, 0.0), (0.2, 0.5)
"""Dropout of inputs and of hidden units; the second as in Srivastava et al."""
REGULARIZERS: dict[str, tuple[tuple[Regularization, ...], tuple[float, float]]] = {
    "L2": ((DECAY,), NONE),
    "L2 + L1 applied towards the end of training": ((DECAY, L1(strength=1e-5, start=0.8, decoupled=False)), NONE),
    "L2 + KL-sparsity": ((DECAY, KlSparsity(strength=1e-4, target=0.1)), NONE),
    "Max-norm": ((MaxNorm(limit=3.0, layers="all"),), NONE),
    "Dropout + L2": ((DECAY,), HALF),
    "Dropout + Max-norm": ((MaxNorm(limit=3.0, layers="all"),), HALF),
}
STARTS: dict[str, Initialization] = {
    "all zeros": Zeros(),
    "0.001 N(0, 1)": Gaussian(std=0.001),
    "uniform, +-0.001": Uniform(limit=0.001),
    "1/sqrt(n)": Calibrated(),
    "sqrt(2/n)": He(),
    "unit variance on the data": UnitVariance(),
}
CROP, FLIP = "{kind: random_crop, scale: [0.5, 1.0]}", "{kind: horizontal_flip}"
JITTER, PCA = "{kind: color_jitter}", "{kind: fancy_pca}"
AUGMENTATIONS = {
    "none": "null",
    "flip": f"[{FLIP}]",
    "crop": f"[{CROP}]",
    "color jitter": f"[{JITTER}]",
    "fancy PCA": f"[{PCA}]",
    "flip + crop": f"[{FLIP}, {CROP}]",
    "flip + crop + color jitter": f"[{FLIP}, {CROP}, {JITTER}]",
    "flip + crop + fancy PCA": f"[{FLIP}, {CROP}, {PCA}]",
}


@dataclass(frozen=True)
class Bench:
    """Where the data is, and how much of everything is done."""

    data: Path
    kept: Path
    device: str
    quick: bool
    most_epochs: int | None = None

    @cached_property
    def cifar(self) -> dict[str, Images]:
        return images_of(self.data / "cifar10.tar.gz", "RGB", self.kept)

    @cached_property
    def mnist(self) -> dict[str, Images]:
        return images_of(self.data / "mnist10k.tar.gz", "L", self.kept)

    def part(self, images: Images, most: int | None, seed: int) -> Images:
        """So many of them, by lot; all where None; a few in a quick run."""
        most = min(200, most or len(images)) if self.quick else most
        return images if most is None else images.some(torch.randperm(len(images), generator=_dice(seed))[:most])

    def epochs(self, usual: int) -> int:
        return 1 if self.quick else min(usual, self.most_epochs or usual)


def _dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def activation_run(bench: Bench, row: str, seed: int) -> dict[str, Any]:
    """Table a: 50,000 images without augmentation, 100 epochs."""
    torch.manual_seed(seed)
    net = timm.create_model("nin", num_classes=10)
    alter(net, Variant(ACTIVATIONS[row]), input_size=(3, 32, 32))
    data = bench.part(bench.cifar["train"], None, seed).to(bench.device)
    course = Course(lr=0.02, epochs=bench.epochs(100), batch=128, seed=seed, device=bench.device, clip=5.0)
    epochs = train(net, data, data.some(slice(0, 1000)), course, (L2(strength=5e-4, decoupled=False),))
    test = bench.part(bench.cifar["test"], None, 0)
    return {
        "train_error": score(net, data, bench.device)[0],
        "test_error": score(net, test, bench.device)[0],
        "test_images": len(test),
        "epochs": epochs,
    }


def regularizer_run(bench: Bench, row: str, seed: int) -> dict[str, Any]:
    """Table b: 784-256-256-10, all 8,500 training images, 10 epochs."""
    techniques, dropout = REGULARIZERS[row]
    torch.manual_seed(seed)
    net = Mlp(784, (256, 256), 10, dropout)
    data, test = bench.part(bench.mnist["train"], None, seed), bench.part(bench.mnist["test"], None, 0)
    course = Course(lr=0.1, epochs=bench.epochs(10), batch=128, seed=seed, device=bench.device, clip=5.0)
    epochs = train(net, data, data.some(slice(0, 500)), course, techniques)
    error = score(net, test, bench.device)[0]
    return {"test_error": error, "test_images": len(test), "train_loss": epochs[-1]["train_loss"]}


def depth_run(bench: Bench, row: str, seed: int) -> dict[str, Any]:
    """Table c: the 22-layer net at 1/16 of its width on 32 x 32 images; 3,000 others are watched, as on the slide."""
    torch.manual_seed(seed)
    net = timm.create_model("plain22", num_classes=10, width=1 / 16)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert module.bias is not None
            STARTS[row].fill(module.weight, module.bias, torch.default_generator)
    shuffled = bench.part(bench.cifar["train"], 7000, seed=0)
    watched = 3000 * len(shuffled) // 7000
    course = Course(lr=0.01, epochs=bench.epochs(10), batch=64, seed=seed, device=bench.device, clip=5.0)
    return {"epochs": train(net, shuffled.some(slice(watched, None)), shuffled.some(slice(watched)), course)}


def variance_run(bench: Bench, row: str, seed: int) -> dict[str, Any]:
    """Table d: ten fully connected layers of 512 units with ReLU, 256 digits."""
    data = bench.part(bench.mnist["train"], 256, seed)
    layers = [nn.Linear(784 if number == 0 else 512, 512) for number in range(10)]
    for layer in layers:
        STARTS[row].fill(layer.weight, layer.bias, _dice(seed))
    net = nn.Sequential(nn.Flatten(), *(module for layer in layers for module in (layer, nn.ReLU())))
    if isinstance(STARTS[row], UnitVariance):
        scale_to_unit_variance(layers, lambda: net(data.x_NCHW))
    return {"variance": [layer.variance for layer in measure_signal(net, lambda: net(data.x_NCHW))]}


def augmentation_run(bench: Bench, row: str, seed: int) -> dict[str, Any]:
    """Table e: `few_layers` with the bundled backbone on hymenoptera, 8 epochs."""
    edits = [
        f"data.path={bench.data / 'hymenoptera'}",
        f"augmentation={AUGMENTATIONS[row]}",
        f"seed={seed}",
        f"budget.epochs={bench.epochs(8)}",
        "strategy.cached_views=null",
        "runtime.workers=0",
        *(["preprocessing.size=64"] if bench.quick else []),
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = run_recipe(load_recipe("few_layers", edits), RunDir(Path(folder) / "run"), device=bench.device)
        metrics = run.load_metrics()["test"]
    return {"test_error": 1 - metrics["accuracy"], "test_images": metrics["images"], "log_loss": metrics["log_loss"]}


Run = Callable[[Bench, str, int], dict[str, Any]]
TABLES: dict[str, tuple[Run, list[str], int]] = {
    "a": (activation_run, list(ACTIVATIONS), 3),
    "b": (regularizer_run, list(REGULARIZERS), 10),
    "c": (depth_run, ["1/sqrt(n)", "sqrt(2/n)"], 3),
    "d": (variance_run, list(STARTS), 1),
    "e": (augmentation_run, list(AUGMENTATIONS), 3),
}
"""What a run of each table is, its rows, and seeds."""


def planned(tables: str, seeds: int | None) -> Iterator[tuple[str, str, int]]:
    """Every run: all rows with the first seed, then with the second, so that an interrupted table compares fairly."""
    for table in tables:
        _, rows, usual = TABLES[table]
        yield from ((table, row, seed) for seed in range(seeds or usual) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tables", default="abcde")
    parser.add_argument("--seeds", type=int, help="of every table, instead of its usual number")
    parser.add_argument("--quick", action="store_true", help="a few images and one epoch: the figures mean nothing")
    parser.add_argument("--epochs", type=int, help="of every training at most; the lines say how many there were")
    parser.add_argument("--rows", nargs="+", help="these alone, by name: several processes share a table")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "seed_tables")
    options = parser.parse_args()
    bench = Bench(options.data, options.kept, options.device, options.quick, options.epochs)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.out / f"seed_tables{'_quick' if options.quick else ''}.jsonl"
    done = [json.loads(line) for line in lines.read_text().splitlines()] if lines.is_file() else []
    known = {(found["table"], found["row"], found["seed"]) for found in done}
    for table, row, seed in planned(options.tables, 1 if options.quick else options.seeds):
        if (table, row, seed) in known or (options.rows and row not in options.rows):
            continue
        start = time.perf_counter()
        found = TABLES[table][0](bench, row, seed)
        seconds = round(time.perf_counter() - start, 1)
        line = {"table": table, "row": row, "seed": seed, **found, "seconds": seconds, "made": stamp()}
        done.append(line)
        with lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{table} {row} seed {seed}: {seconds} s", flush=True)
    lines.with_suffix(".md").write_text(report(done), encoding="utf-8")
    if not options.quick:
        draw(done, options.out)


if __name__ == "__main__":
    main()
