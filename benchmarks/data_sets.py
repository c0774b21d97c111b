"""Where the benchmarks' images are: a folder, or an archive NAME.tar.gz, for each data set.

A folder's own split may leak: where `groups.csv` (path,label,split,group) lies in it, that split is taken.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from finetune_advisor.images.sources import open_source
from finetune_advisor.images.sources.scan import images_below

MOST_IMAGES = 2000
"""Enough for two digits of a similarity."""

ARCHIVE = ".tar.gz"
GROUPS = "groups.csv"
"""A manifest beside the class folders that says which images are near-duplicates; used where there is one."""


def data_sets_in(data: Path) -> list[str]:
    """Names of the folders and archives of a folder."""
    folders = [entry.name for entry in data.iterdir() if entry.is_dir()]
    return sorted(folders + [entry.name.removesuffix(ARCHIVE) for entry in data.glob(f"*{ARCHIVE}")])


@contextmanager
def unpacked(data: Path, name: str) -> Iterator[Path]:
    """The folder of a data set, unpacked for as long as it is needed where it lies in an archive."""
    if (data / name).is_dir():
        yield data / name
        return
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(data / f"{name}{ARCHIVE}") as packed:
            packed.extractall(place, filter="data")
        inner = Path(place) / name
        yield inner if inner.is_dir() else Path(place)


@contextmanager
def training_images(data: Path, name: str) -> Iterator[list[Path]]:
    """The training images, or all where nothing is split, at most `MOST_IMAGES` of them."""
    with unpacked(data, name) as folder:
        train = folder / "train"
        if (folder / GROUPS).is_file():
            paths = [sample.path for sample in open_source(folder / GROUPS).part("train")]
        else:
            paths = images_below(train if train.is_dir() else folder)
        yield some(paths, MOST_IMAGES)


def some(paths: Sequence[Path], most: int) -> list[Path]:
    """That many at random, always the same, in their order."""
    rng = np.random.default_rng(0)
    return [paths[place] for place in sorted(rng.permutation(len(paths))[:most])]
