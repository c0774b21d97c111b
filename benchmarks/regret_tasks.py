"""The tasks of regret.py: data set x images a class, drawn from its training part and judged on its test part."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from data_sets import GROUPS

from finetune_advisor.images.sample import stratified_sample
from finetune_advisor.images.sources import Listing, Sample, open_source
from finetune_advisor.images.tables import manifest_text
from finetune_advisor.storage.files import atomic_write


@dataclass(frozen=True)
class Settings:
    """How large everything is.

    Attributes:
        name: what the lines call these settings.
        px: side of the network's input.
        per_class: training images of a class, one task each.
        most_images: training images of a task at most; a size that is cut down by this is named by what is left.
        test_images: at most so many, each class with its share.
        shows: training images that a recipe sees at least, counting repeats; None leaves every recipe its own duration.
        epochs: least and most epochs where `shows` decides.
        batch: larger batches are cut down to this; None leaves them.
        device: torch device.
    """

    name: str
    px: int
    per_class: tuple[int, ...]
    most_images: int
    test_images: int
    shows: int | None
    epochs: tuple[int, int]
    batch: int | None
    device: str


SMALL = Settings("small", 96, (5, 20, 80), 300, 200, 400, (3, 24), 16, "cpu")
LARGE = Settings("large", 224, (5, 20, 80, 320), 4000, 2000, None, (1, 1), None, "cpu")
GPU = replace(LARGE, device="cuda")


@dataclass(frozen=True)
class Task:
    """Images to learn from and images to judge on, for one seed."""

    data: str
    per_class: int
    seed: int
    train: Listing
    test: tuple[Sample, ...]

    @property
    def name(self) -> str:
        return f"{self.data}/{self.per_class}"

    @property
    def images(self) -> int:
        return len(self.train.samples)


def tasks_of(folder: Path, settings: Settings, *, seed: int) -> list[Task]:
    """The tasks of one data set, from few images to many; those of a seed share their test images, smaller sets lie in
    larger ones."""
    listing = open_source(folder / GROUPS if (folder / GROUPS).is_file() else folder)
    rng = np.random.default_rng(seed)
    shuffled = [listing.samples[place] for place in rng.permutation(len(listing.samples)).tolist()]
    trainable = [sample for sample in shuffled if sample.split != "test"]
    test = stratified_sample(replace(listing, samples=listing.part("test")), settings.test_images, seed=0).samples
    counts = Counter(sample.label for sample in trainable)
    sizes = _sizes(settings, list(counts.values()))
    return [Task(folder.name, size, seed, _taken(listing, trainable, size), test) for size in sizes]


def write_task(task: Task, place: Path) -> tuple[Path, Path]:
    """Write two manifests: the training images alone, for the analysis, and all of them with their split, for runs."""
    alone, split = place / "train.csv", place / f"{task.data}.csv"
    atomic_write(alone, manifest_text(task.train.samples, task.train.classes, relative_to=None))
    samples = [*(replace(sample, split="train") for sample in task.train.samples), *task.test]
    atomic_write(split, manifest_text(samples, task.train.classes, relative_to=None))
    return alone, split


def use_cache(place: Path) -> None:
    """Let measurements be remembered in this folder alone, so that the first look at a task's images is cold."""
    os.environ["XDG_CACHE_HOME"] = str(place.resolve())


def _sizes(settings: Settings, available: Sequence[int]) -> list[int]:
    """Images a class of each task: one that is less than twice the one before takes its place."""
    sizes: list[int] = []
    for size in settings.per_class:
        cut = _cut(size, available, settings.most_images)
        sizes = [before for before in sizes if before * 2 <= cut] + [cut]
    return sizes


def _cut(size: int, available: Sequence[int], most: int) -> int:
    """The largest number of images a class, up to `size`, with which there are at most `most` in all."""
    while sum(min(size, count) for count in available) > most:
        size -= 1
    return min(size, max(available))


def _taken(listing: Listing, shuffled: Sequence[Sample], size: int) -> Listing:
    taken: Counter[int] = Counter()
    kept = []
    for sample in shuffled:
        if taken[sample.label] < size:
            taken[sample.label] += 1
            kept.append(replace(sample, split=None))
    return replace(listing, samples=tuple(sorted(kept, key=lambda sample: sample.name)))
