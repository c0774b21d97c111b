"""The advice beside what a practitioner would try first, on whole data sets: the README's table.

    pip install -e ".[bench]"
    python benchmarks/beside_others.py hymenoptera food/groups.csv --lines lines.jsonl
    python benchmarks/beside_others.py --lines lines.jsonl --out benchmarks/results

Every row is measured in a fresh process on an idle machine, with the same network, weights and training images, and
scored on the same test images:

- *majority class*: always the largest training class.
- *linear classifier*: scikit-learn's LogisticRegression, as it comes, on timm's pooled features.
- *stage_probe*: our fixed recipe, linear classifiers on all stages, without an analysis.
- *advised*: `analyze`, then `run` of the recipe it writes.
- *few_layers*: our fixed recipe, without an analysis.
- *fastai 5, 10, 20*: `lr_find`, then `fine_tune` of that many epochs at the suggested learning rate. The three share
  one process; the seconds of each hold the start, `lr_find` and the prediction of the test images.

DATA is a folder with train/ and test/ or a manifest. A line is written as soon as it is measured, and those that are
there are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import COMMIT, publish
from training_runs import timed

from finetune_advisor.metrics import accuracy_interval, paired_bootstrap

SIDE = 224
FASTAI_BATCH = 64
LENGTHS = (5, 10, 20)
"""Epochs of fastai's `fine_tune`."""
RECIPES = ("stage_probe", "few_layers")
"""Fixed recipes that stand beside the advice."""

ORDER = (
    "majority class",
    "linear classifier",
    *RECIPES,
    "advised",
    *(f"fastai {epochs}" for epochs in LENGTHS),
)

Row = dict[str, Any]
"""`row`, `seconds`, `predictions`: a class name for each test image, in the listing's order."""


class Images:
    """The labeled images of a data set, as every row takes them: our listing, with val as a part of train."""

    def __init__(self, data: Path) -> None:
        from finetune_advisor.images.sources import open_source

        listing = open_source(data)
        train, test = (*listing.part("train"), *listing.part("val")), listing.part("test")
        self.train = [sample.path for sample in train]
        self.train_labels = [listing.classes[sample.label] for sample in train]
        self.test = [sample.path for sample in test]
        self.test_names = [sample.name for sample in test]
        self.test_labels = [listing.classes[sample.label] for sample in test]
        self.test_groups = [sample.group or sample.name for sample in test]


def majority(data: Path) -> Iterator[Row]:
    """The largest training class for every image."""
    images = Images(data)
    largest = Counter(images.train_labels).most_common(1)[0][0]
    yield {"row": "majority class", "seconds": None, "predictions": [largest] * len(images.test)}


def linear_classifier(data: Path) -> Iterator[Row]:
    """Pooled features by timm as its documentation shows it, then scikit-learn's defaults."""
    start = time.perf_counter()
    import timm
    import torch
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from finetune_advisor.backbones.bundled import RULER, load

    images = Images(data)
    net = timm.create_model(RULER)
    net.load_state_dict(load(RULER))
    net.reset_classifier(0)  # type: ignore[operator]
    net.eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))

    def features(paths: Sequence[Path]) -> Any:
        rows = []
        with torch.inference_mode():
            for first in range(0, len(paths), 32):
                batch = [transform(Image.open(path).convert("RGB")) for path in paths[first : first + 32]]
                rows.append(net(torch.stack(batch)))
        return torch.cat(rows).numpy()

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(features(images.train), images.train_labels)
    predictions = classifier.predict(features(images.test)).tolist()
    yield {"row": "linear classifier", "seconds": time.perf_counter() - start, "predictions": predictions}


def fastai(data: Path) -> Iterator[Row]:
    """`vision_learner`, `lr_find`, `fine_tune`, with the augmentations that fastai's documentation begins with."""
    start = time.perf_counter()
    import torch
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        accuracy,
        aug_transforms,
        set_seed,
        vision_learner,
    )

    from finetune_advisor.backbones.bundled import MEAN, RULER, STD, load

    images = Images(data)
    label_of = dict(zip(images.train, images.train_labels, strict=True))
    body = {name: value for name, value in load(RULER).items() if not name.startswith("classifier.")}

    def learner() -> Any:
        set_seed(0)
        loaders = ImageDataLoaders.from_path_func(
            Path(os.path.commonpath(images.train)),
            images.train,
            lambda path: label_of[Path(path)],
            valid_pct=0.2,
            seed=0,
            item_tfms=Resize(int(SIDE * 1.15)),
            batch_tfms=[*aug_transforms(size=SIDE), Normalize.from_stats(MEAN, STD)],
            bs=FASTAI_BATCH,
            device=torch.device("cpu"),
        )
        seen = {Path(item) for item in (*loaders.train_ds.items, *loaders.valid_ds.items)}
        if seen != set(images.train):
            raise RuntimeError(f"fastai trains on {len(seen)} images, not on the {len(images.train)} training images")
        made = vision_learner(loaders, RULER, pretrained=False, normalize=False, metrics=accuracy)
        made.model[0].model.load_state_dict(body, strict=False)
        made.freeze()
        return made

    with tempfile.TemporaryDirectory() as folder:
        searching, begun = learner(), time.perf_counter()
        searching.model_dir = Path(folder)  # lr_find keeps the untrained weights there while it searches
        rate = float(searching.lr_find(show_plot=False).valley)
    found = {"lr_find": rate, "lr_find_seconds": time.perf_counter() - begun}
    shared = time.perf_counter() - start  # the first learner, lr_find and imports
    for epochs in LENGTHS:
        begun = time.perf_counter()
        made = learner()
        made.fine_tune(epochs, base_lr=rate)
        logits = made.get_preds(dl=made.dls.test_dl(images.test))[0]
        predictions = [made.dls.vocab[int(row.argmax())] for row in logits]
        seconds = shared + time.perf_counter() - begun
        yield {"row": f"fastai {epochs}", "seconds": seconds, "predictions": predictions, **found}


def ours(data: Path, recipe: str | None) -> Iterator[Row]:
    """A fixed recipe, or what `analyze` advises where it is None; the seconds are of whole processes, cache empty."""
    command = [sys.executable, "-m", "finetune_advisor"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
        run_dir, seconds = Path(folder, "run"), 0.0
        found: Row = {"row": recipe or "advised"}
        run = [*command, "run", "--run-dir", str(run_dir), "--device", "cpu"]
        if recipe is None:
            written = Path(folder, "recipe.yaml")
            analyze = [*command, "analyze", str(data), "-o", str(written), "--report-dir", f"{folder}/analysis"]
            found["analyze_seconds"] = timed([*analyze, "--device", "cpu"], environment)
            seconds = found["analyze_seconds"] + timed([*run, str(written)], environment)
        else:
            seconds = timed([*run, recipe, "--set", f"data.path={data.resolve()}"], environment)
        found["recipe"] = json.loads((run_dir / "metrics.json").read_text())["recipe"]
        with (run_dir / "predictions.csv").open(newline="") as file:
            predicted = {row["path"]: row["prediction"] for row in csv.DictReader(file)}
    yield {**found, "seconds": seconds, "predictions": [predicted[name] for name in Images(data).test_names]}


ROWS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "majority": majority,
    "linear": linear_classifier,
    "advised": partial(ours, recipe=None),
    **{recipe: partial(ours, recipe=recipe) for recipe in RECIPES},
    "fastai": fastai,
}


def name_of(data: Path) -> str:
    return data.parent.name if data.is_file() else data.name


def measure(data: Path, kinds: Sequence[str], lines: Path) -> None:
    """Append what is not there yet, each kind from a fresh process."""
    name, images = name_of(data), Images(data)
    done = {(line["data"], line["kind"]) for line in read(lines)}
    for kind in kinds:
        if (name, kind) in done:
            continue
        command = [sys.executable, __file__, str(data), "--child", kind]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows = [json.loads(line) for line in child.stdout.splitlines() if line.startswith('{"row"')]
        with lines.open("a", encoding="utf-8") as file:
            for row in rows:
                predictions = row.pop("predictions")
                hits = zip(predictions, images.test_labels, strict=True)
                row |= {
                    "train_images": len(images.train),
                    "labels": images.test_labels,
                    "groups": images.test_groups,
                    "correct": "".join("1" if predicted == label else "0" for predicted, label in hits),
                }
                file.write(json.dumps({"data": name, "kind": kind, "commit": COMMIT, **row}) + "\n")
                print(name, row["row"], row["seconds"], row["correct"].count("1"), file=sys.stderr, flush=True)


def read(lines: Path) -> list[Row]:
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] if lines.exists() else []


def scores(line: Row) -> dict[str, Any]:
    """Accuracy with its interval over groups of near-duplicates, and balanced accuracy."""
    hit_N = np.array([mark == "1" for mark in line["correct"]])
    labels_N, group_N = (np.unique(line[key], return_inverse=True)[1] for key in ("labels", "groups"))
    return {
        "accuracy": float(hit_N.mean()),
        "accuracy_ci95": accuracy_interval(hit_N, group_N),
        "balanced_accuracy": float(np.mean([hit_N[labels_N == label].mean() for label in np.unique(labels_N)])),
    }


def against(line: Row, advised: Row) -> str:
    """Points of accuracy over the advice, with the paired interval over groups."""
    own_N, advised_N = (np.array([mark == "1" for mark in each["correct"]]) for each in (line, advised))
    group_N = np.unique(line["groups"], return_inverse=True)[1]
    lead, low, high = (100 * value for value in paired_bootstrap(own_N, advised_N, group_N))
    return f"{lead:+.1f} [{low:+.1f}, {high:+.1f}]"


def page(lines: Sequence[Row]) -> str:
    parts = ["# The advice beside what a practitioner would try first", ""]
    for data in dict.fromkeys(line["data"] for line in lines):
        of_data = sorted((line for line in lines if line["data"] == data), key=lambda line: ORDER.index(line["row"]))
        first = of_data[0]
        advised = next((line for line in of_data if line["row"] == "advised"), None)
        classes, groups = len(set(first["labels"])), len(set(first["groups"]))
        images = len(first["labels"])
        parts += [
            f"## {data}",
            "",
            f"{first['train_images']} training images, {classes} classes; {images} test images"
            + (f" in {groups} groups." if groups < images else "."),
            "",
            "| | accuracy | balanced accuracy | points over the advice | seconds |",
            "|---|---|---|---|---|",
        ]
        for line in of_data:
            found, name = scores(line), line["row"]
            low, high = found["accuracy_ci95"]
            if name == "advised":
                name = f"advised: {line['recipe']}"
            beside = "" if advised is None or line is advised else against(line, advised)
            seconds = "" if line["seconds"] is None else f"{line['seconds']:.0f}"
            parts.append(
                f"| {name} | {found['accuracy']:.3f} [{low:.3f}, {high:.3f}] | {found['balanced_accuracy']:.3f} "
                f"| {beside} | {seconds} |"
            )
        parts.append("")
    rates = [f"{line['data']} {line['lr_find']:.2g}" for line in lines if line["row"] == f"fastai {LENGTHS[0]}"]
    if rates:
        parts.append(f"Learning rates that fastai's `lr_find` suggested: {', '.join(rates)}.")
    parts.append(f"Code of commits {', '.join(sorted({line['commit'] for line in lines}))}.")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", metavar="DATA")
    parser.add_argument("--rows", nargs="*", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--lines", type=Path, help="file that measured rows are appended to")
    parser.add_argument("--out", type=Path, help="folder for the page")
    parser.add_argument("--child", choices=tuple(ROWS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        for row in ROWS[options.child](options.data[0]):
            print(json.dumps(row), flush=True)
        return
    for data in options.data:
        measure(data, options.rows, options.lines)
    if options.out:
        found = read(options.lines)
        images = ("labels", "groups", "correct")  # of each test image: in the lines
        rows = [{**{key: line[key] for key in line if key not in images}, **scores(line)} for line in found]
        publish(options.out, "beside_others", {"rows": rows}, page(found))


if __name__ == "__main__":
    main()
