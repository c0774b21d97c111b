"""Faults planted in a copy of real data: how many are found, and what is named beside them.

    .venv/bin/python benchmarks/planted_faults.py DATA_DIR --out benchmarks/results --montage unplanted.png

DATA_DIR holds hymenoptera/ and textures/, each with train/ and test/. Unreadable files and copies are planted in both
sets put together, wrong labels in the training part of hymenoptera alone. Near-duplicates that were not planted are
listed, and drawn side by side with --montage: whether they are natural copies or false is for the reader to see. Writes
planted_faults.json and planted_faults.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from machine import stamp
from PIL import Image

from finetune_advisor import analyze
from finetune_advisor.records.health import Health

CORRUPT, EXACT, NEAR_EACH, ACROSS, FLIPPED = 20, 30, 10, 20, 0.05
KEPT, QUALITY = 0.95, 40
THUMB = 160


@dataclass
class Planted:
    """Names of what was planted; pairs are (original, copy)."""

    corrupt: set[str] = field(default_factory=set)
    exact: list[tuple[str, str]] = field(default_factory=list)
    near: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    across: list[tuple[str, str]] = field(default_factory=list)


def plant(root: Path, rng: np.random.Generator) -> Planted:
    """Damage a folder of train/ and test/ in place; every original is used once."""
    planted = Planted(near={"resized": [], "JPEG quality 40": [], "5 % cropped": []})
    train = [path.relative_to(root).as_posix() for path in sorted(root.glob("train/*/*.jpg"))]
    test = [path.relative_to(root).as_posix() for path in sorted(root.glob("test/*/*.jpg"))]
    originals = iter(rng.permutation(train).tolist())
    for number in range(CORRUPT):
        planted.corrupt.add(corrupt(root, next(originals), number))
    for number in range(EXACT):
        planted.exact.append(copied(root, name := next(originals), f"{name[:-4]}_exact{number}.jpg"))
    for how in planted.near:
        for number in range(NEAR_EACH):
            planted.near[how].append(changed(root, next(originals), how, number, rng))
    for number, name in enumerate(rng.permutation(test)[:ACROSS].tolist()):
        planted.across.append(copied(root, name, f"train{name[4:-4]}_test{number}.jpg"))
    return planted


def copied(root: Path, name: str, copy: str) -> tuple[str, str]:
    shutil.copyfile(root / name, root / copy)
    return name, copy


def corrupt(root: Path, name: str, number: int) -> str:
    """One more file: cut short, empty, a web page, or with a ruined header."""
    whole = (root / name).read_bytes()
    bad = (whole[: len(whole) // 2], b"", b"<!DOCTYPE html><html>not found</html>", bytes(64) + whole[64:])[number % 4]
    damaged = f"{name[:-4]}_corrupt{number}.jpg"
    (root / damaged).write_bytes(bad)
    return damaged


def changed(root: Path, name: str, how: str, number: int, rng: np.random.Generator) -> tuple[str, str]:
    """A near-duplicate beside its original; crops are of the corners and the center in turn."""
    copy = f"{name[:-4]}_near{number}{how[0]}.jpg"
    with Image.open(root / name) as file:
        image = file.convert("RGB")
    quality = 92
    if how == "resized":
        scale = rng.uniform(0.5, 0.9)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    elif how == "5 % cropped":
        width, height = round(image.width * KEPT), round(image.height * KEPT)
        left, top = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5))[number % 5]
        x, y = round((image.width - width) * left), round((image.height - height) * top)
        image = image.crop((x, y, x + width, y + height))
    else:
        quality = QUALITY
    image.save(root / copy, "JPEG", quality=quality)
    return name, copy


def together(pair: tuple[str, str], groups: Iterable[Sequence[str]]) -> bool:
    return any(pair[0] in group and pair[1] in group for group in groups)


def unplanted(health: Health, planted: Planted) -> list[tuple[str, ...]]:
    """Groups of near-duplicates that hold more than one picture when what was planted is taken out."""
    pairs = [*planted.exact, *planted.across, *(pair for pairs in planted.near.values() for pair in pairs)]
    original_of = {copy: original for original, copy in pairs}
    groups = []
    for group in health.near_duplicates:
        pictures = tuple(dict.fromkeys(original_of.get(name, name) for name in group.images))
        if len(pictures) > 1:
            groups.append(pictures)
    return groups


def copies_run(data: Path, seed: int, montage: Path | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "faults"
        for name in ("hymenoptera", "textures"):
            shutil.copytree(data / name, root, ignore=shutil.ignore_patterns("*.csv"), dirs_exist_ok=True)
        planted = plant(root, np.random.default_rng(seed))
        health = analyze(root, seed=seed).health
        near_groups = [group.images for group in health.near_duplicates]
        beside = unplanted(health, planted)
        print(f"seed {seed}, near-duplicates that were not planted:")
        for group in beside:
            print(f"  {' = '.join(group)}")
        if montage is not None:
            draw(root, beside, montage)
        bad = {file.path for file in health.bad_files}
        return {
            "seed": seed,
            "corrupt": len(bad & planted.corrupt),
            "corrupt, false": len(bad - planted.corrupt),
            "exact": sum(together(pair, health.exact_duplicates) for pair in planted.exact),
            "across splits": sum(together(pair, health.duplicates_across_splits) for pair in planted.across),
            **{how: sum(together(pair, near_groups) for pair in pairs) for how, pairs in planted.near.items()},
            "near": sum(together(pair, near_groups) for pairs in planted.near.values() for pair in pairs),
            "near, not planted": len(beside),
        }


def labels_run(data: Path, seed: int) -> dict[str, object]:
    """Move a share of hymenoptera's training images to the other class and see which are suspected."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "labels"
        shutil.copytree(data / "hymenoptera", root, ignore=shutil.ignore_patterns("*.csv"))
        paths = sorted((root / "train").glob("*/*.jpg"))
        rng = np.random.default_rng(seed)
        flipped = set()
        for place in rng.choice(len(paths), round(FLIPPED * len(paths)), replace=False):
            path = paths[place]
            other = next(name for name in ("ants", "bees") if name != path.parent.name)
            target = path.rename(root / "train" / other / f"{path.stem}_from_{path.parent.name}.jpg")
            flipped.add(target.relative_to(root).as_posix())
        suspects = {suspect.path for suspect in analyze(root, seed=seed).health.label_suspects}
        hits = len(suspects & flipped)
        return {
            "seed": seed,
            "flipped": len(flipped),
            "suspects": len(suspects),
            "precision": round(hits / max(1, len(suspects)), 3),
            "recall": round(hits / len(flipped), 3),
        }


def draw(root: Path, groups: Sequence[Sequence[str]], path: Path) -> None:
    """Each group in a row."""
    if not groups:
        return
    sheet = Image.new("RGB", (max(map(len, groups)) * THUMB, len(groups) * THUMB), "white")
    for row, group in enumerate(groups):
        for column, name in enumerate(group):
            with Image.open(root / name) as image:
                sheet.paste(image.convert("RGB").resize((THUMB, THUMB)), (column * THUMB, row * THUMB))
    sheet.save(path)


def table(rows: Sequence[dict[str, object]]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[key]) for key in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA_DIR")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the faults (default 5)")
    parser.add_argument("--label-seeds", type=int, default=10, help="draws of the wrong labels (default 10)")
    parser.add_argument("--out", type=Path, help="folder for planted_faults.json and planted_faults.md")
    parser.add_argument("--montage", type=Path, help="picture of the near-duplicates that were not planted")
    settings = parser.parse_args()
    copies = [copies_run(settings.data, seed, settings.montage if not seed else None) for seed in range(settings.seeds)]
    labels = [labels_run(settings.data, seed) for seed in range(settings.label_seeds)]
    planted = f"{CORRUPT} unreadable, {EXACT} exact, {3 * NEAR_EACH} near ({NEAR_EACH} each), {ACROSS} across splits"
    means = ", ".join(f"{key} {np.mean([row[key] for row in labels]):.2f}" for key in ("precision", "recall"))
    text = f"Planted: {planted}.\n\n{table(copies)}\n\nWrong labels, mean {means}.\n\n{table(labels)}\n"
    print(text)
    if settings.out is not None:
        settings.out.mkdir(parents=True, exist_ok=True)
        found = {"made": stamp(), "copies": copies, "labels": labels}
        (settings.out / "planted_faults.json").write_text(json.dumps(found, indent=2) + "\n")
        made = f"Made by `{stamp()['command']}` on {stamp()['machine']}."
        (settings.out / "planted_faults.md").write_text(f"# Planted faults\n\n{made}\n\n{text}")


if __name__ == "__main__":
    main()
