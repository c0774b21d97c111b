"""How similar to ImageNet? The score of known data sets, its stability, and controls nobody can tune to.

    .venv/bin/python benchmarks/similarity.py DATA_DIR --out benchmarks/results

DATA_DIR holds one folder or archive per data set and `imagenet_sample/`, one photograph of each ImageNet class. Labels
and test images play no part: the score is of the training images where there is a split. Writes similarity.json and
similarity.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from data_sets import data_sets_in, some, training_images
from machine import stamp
from PIL import Image, ImageFilter, ImageOps

from finetune_advisor.analysis.similarity import similarity
from finetune_advisor.features.extract import Features, measure, ruler
from finetune_advisor.images.sources.scan import images_below
from finetune_advisor.processes import default_workers

ORDER = (
    ("imagenet_sample", "hymenoptera", "food"),
    ("textures",),
    ("cifar10",),
    ("tile_defects", "mnist10k"),
)
"""What is more similar to ImageNet than what follows, to anybody who looks."""

HALVINGS, DRAWS, CLASSES_ALONE = 20, 200, 20
CONTROL_IMAGES = 300

Change = Callable[[Image.Image], Image.Image]


def shuffled(share: float) -> Change:
    """Moves a share of the pixels to each other's places."""

    def change(image: Image.Image) -> Image.Image:
        rng = np.random.default_rng(0)
        pixels = np.array(image)
        flat = pixels.reshape(-1, 3)
        chosen = np.flatnonzero(rng.random(len(flat)) < share)
        flat[chosen] = flat[rng.permutation(chosen)]
        return Image.fromarray(flat.reshape(pixels.shape))

    return change


def blurred(radius: float) -> Change:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


def small(side: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        scale = side / min(image.size)
        return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)

    return change


def half_gray(image: Image.Image) -> Image.Image:
    return Image.blend(image, ImageOps.grayscale(image).convert("RGB"), 0.5)


CONTROLS: dict[str, list[tuple[str, Change]]] = {
    "gray": [("half", half_gray), ("whole", lambda image: ImageOps.grayscale(image).convert("RGB"))],
    "blurred": [(f"radius {radius}", blurred(radius)) for radius in (1, 2, 4)],
    "reduced": [(f"{side} px", small(side)) for side in (128, 64, 32)],
    "inverted": [("colors", ImageOps.invert)],
    "shuffled": [(f"{share:.0%} of pixels", shuffled(share)) for share in (0.1, 0.3, 1.0)],
}


def seen(paths: Sequence[Path], *, use_cache: bool = True) -> Features:
    measured = measure(paths, [ruler()], device="cpu", workers=default_workers(), use_cache=use_cache)
    assert not measured.unreadable, measured.unreadable
    return measured.features[0]


def score(features: Features) -> float:
    return similarity(features, seed=0).score


def of_data_sets(data: Path) -> dict[str, dict[str, object]]:
    """Score, interval and largest difference between two halves of each data set."""
    found: dict[str, dict[str, object]] = {}
    for name in data_sets_in(data):
        with training_images(data, name) as paths:
            features = seen(paths)
        whole, rng = similarity(features, seed=0), np.random.default_rng(0)
        images = len(features.arrays["logits"])
        gaps = []
        for _ in range(HALVINGS):
            halves = np.array_split(rng.permutation(images), 2)
            gaps.append(abs(score(features.rows(halves[0])) - score(features.rows(halves[1]))))
        found[name] = {
            "images": images,
            "score": whole.score,
            "low": whole.low,
            "high": whole.high,
            "early": whole.early,
            "late": whole.late,
            "per_stage": {stage.stage: stage.score for stage in whole.per_stage},
            "halves_differ_at_most": max(gaps),
        }
        print(f"{name:18} {whole.score:.3f} [{whole.low:.3f}, {whole.high:.3f}]  halves <= {max(gaps):.3f}")
    return dict(sorted(found.items(), key=lambda item: -float(str(item[1]["score"]))))


def order(data_sets: dict[str, dict[str, object]]) -> list[str]:
    """For each step of `ORDER` the gap between the least similar above it and the most similar below."""
    lines = []
    for above, below in pairwise(ORDER):
        least = min(above, key=lambda name: float(str(data_sets[name]["score"])))
        most = max(below, key=lambda name: float(str(data_sets[name]["score"])))
        gap = float(str(data_sets[least]["score"])) - float(str(data_sets[most]["score"]))
        apart = float(str(data_sets[least]["low"])) > float(str(data_sets[most]["high"]))
        lines.append(
            f"- {', '.join(above)} > {', '.join(below)}: least gap {gap:+.3f} ({least}, {most}), "
            f"the intervals {'are apart' if apart else 'overlap'}"
        )
    return lines


def classes_alone(photographs: Features) -> dict[str, float]:
    """How far the score of any 20 classes alone is from that of all."""
    whole, rng = score(photographs), np.random.default_rng(1)
    images = len(photographs.arrays["logits"])
    gaps = [
        abs(score(photographs.rows(rng.choice(images, CLASSES_ALONE, replace=False))) - whole) for _ in range(DRAWS)
    ]
    return {"draws": DRAWS, "largest": max(gaps), "median": float(np.median(gaps))}


def controls(photographs: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Scores of photographs that were spoiled, harder and harder."""
    found: dict[str, dict[str, float]] = {}
    original = score(seen(photographs))
    for name, changes in CONTROLS.items():
        found[name] = {"as they are": original}
        for severity, change in changes:
            with tempfile.TemporaryDirectory() as folder:
                spoiled = [Path(folder) / f"{path.stem}.png" for path in photographs]
                for source, target in zip(photographs, spoiled, strict=True):
                    with Image.open(source) as image:
                        change(image.convert("RGB")).save(target)
                found[name][severity] = score(seen(spoiled, use_cache=False))
        print(f"{name:10}", "  ".join(f"{what} {value:.3f}" for what, value in found[name].items()))
    return found


def page(found: dict[str, object]) -> str:
    data_sets, alone, spoiled = found["data_sets"], found["classes_alone"], found["controls"]
    assert isinstance(data_sets, dict) and isinstance(alone, dict) and isinstance(spoiled, dict)
    lines = ["# How similar to ImageNet?", "", f"`{found['command']}`, {found['machine']}", ""]
    lines += ["| data | images | score | 95 % interval | early | late | two halves differ by at most |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, row in data_sets.items():
        lines.append(
            f"| {name} | {row['images']} | **{row['score']:.3f}** | {row['low']:.3f} to {row['high']:.3f} | "
            f"{row['early']:.2f} | {row['late']:.2f} | {row['halves_differ_at_most']:.3f} |"
        )
    lines += ["", "The order that is expected:", "", *order(data_sets)]
    lines += [
        "",
        f"Any {CLASSES_ALONE} classes of the ImageNet photographs alone ({alone['draws']} draws): the score is ",
    ]
    lines[-1] += f"at most {alone['largest']:.3f} from that of all (median {alone['median']:.3f})."
    lines += ["", "Photographs that were spoiled:", "", "| change | score, from mild to hard |", "|---|---|"]
    for name, severities in spoiled.items():
        lines.append(f"| {name} | {' · '.join(f'{what} **{value:.3f}**' for what, value in severities.items())} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of data sets")
    parser.add_argument("--out", type=Path, help="folder for similarity.json and similarity.md")
    options = parser.parse_args()
    photographs = images_below(options.data / "imagenet_sample")
    found: dict[str, object] = {
        **stamp(),
        "data_sets": of_data_sets(options.data),
        "classes_alone": classes_alone(seen(photographs)),
        "controls": controls(some(photographs, CONTROL_IMAGES)),
    }
    text = page(found)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "similarity.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (options.out / "similarity.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
