"""Training images recognized again by their content, wherever they lie and whatever they are called.

A run keeps `training_images.safetensors`: of each image that trained or chose the model its name, the digest of its
file, and what near-duplicates are found by, a thumbnail with the size of the image. It holds no pixels beyond that, and
an exported model does not take it along.

Shapes: N images, of which T trained a model.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune_advisor.errors import DataError
from finetune_advisor.images.duplicates import family_ids, known_near_duplicates
from finetune_advisor.images.sources import Listing
from finetune_advisor.images.thumbnails import MODES, Looks, mode_index
from finetune_advisor.storage.files import atomic_write

FORMAT = "1"
TRAINED = ("train", "val")
"""Splits whose images trained a model or chose it."""


@dataclass(frozen=True)
class TrainingImages:
    """What a run remembers of its training images, by which they are recognized."""

    names: tuple[str, ...]
    digests: tuple[str, ...]
    looks: Looks


@dataclass(frozen=True)
class Recognized:
    """Which of N images a model knows from its training.

    Attributes:
        known: by the place of an image, the name of a training image that it is the same picture as.
        identical: places of those that are the same file.
        groups: how many different pictures the known images are.
        group_N: number of the group of each image: byte-identical, near-duplicates, or of one group of the user's.
    """

    known: dict[int, str]
    identical: frozenset[int]
    groups: int
    group_N: npt.NDArray[np.intp]


def save_training_images(path: Path, listing: Listing, digests: Sequence[str], looks: Looks) -> None:
    """Write what training images are recognized by, whole or not at all.

    Args:
        path: the file.
        listing: every sample with its split; those of `TRAINED` are written.
        digests: content digest of each sample.
        looks: of each sample.

    Raises:
        StorageError: the file cannot be written.
    """
    from safetensors.numpy import save

    places = [place for place, sample in enumerate(listing.samples) if sample.split in TRAINED]
    rows = looks.rows(places)
    tensors: dict[str, npt.NDArray[Any]] = {"digests": np.array([_bytes(digests[place]) for place in places], np.uint8)}
    tensors["modes"] = np.array([mode_index(mode) for mode in rows.modes], np.uint8)
    tensors |= {name: np.ascontiguousarray(getattr(rows, name)) for name in _arrays()}
    metadata = {"format": FORMAT, "names": json.dumps([listing.samples[place].name for place in places])}
    atomic_write(path, save(tensors, metadata))


def load_training_images(path: Path) -> TrainingImages:
    """Read what `save_training_images` wrote.

    Raises:
        DataError: the file is missing, damaged or of another version.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataError(f"{path} is missing.", "Runs of earlier versions and exported models have none.")
    try:
        with safe_open(path, "numpy") as file:
            names = tuple(json.loads(file.metadata()["names"]))
            tensors = {name: file.get_tensor(name) for name in ("digests", "modes", *_arrays())}
        modes = tuple(MODES[index] for index in tensors["modes"].tolist())
        digests = tuple(row.tobytes().hex() for row in tensors["digests"])
        looks = Looks(modes=modes, **{name: tensors[name] for name in _arrays()})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as problem:
        raise DataError(f"{path} is damaged or of another version ({problem}).") from problem
    if not len(names) == len(digests) == len(looks):
        raise DataError(f"{path} is damaged: {len(names)} names, {len(digests)} digests, {len(looks)} thumbnails.")
    return TrainingImages(names, digests, looks)


def recognize(
    training: TrainingImages | None,
    digests: Sequence[str],
    looks: Looks,
    *,
    groups: Sequence[Hashable | None] | None = None,
) -> Recognized:
    """Find training images among N others: first by content, then as near-duplicates that are sure enough for an alarm.

    Args:
        training: what a run remembers; None recognizes nobody, and only says which images belong together.
        digests: of the images.
        looks: of the images.
        groups: the user's own group of each image, None where it has none.
    """
    known_names = () if training is None else training.names
    before, images = len(known_names), len(digests)
    every = digests if training is None else [*training.digests, *digests]
    pairs = known_near_duplicates(looks if training is None else _joined(training.looks, looks))
    named = [*[None] * before, *(groups or [None] * images)]
    together_N = family_ids(len(every), digests=every, pairs=pairs, groups=named)
    same_N = family_ids(len(every), digests=every, pairs=[pair for pair in pairs if pair.confirmed])
    trained_as: dict[int, str] = {}
    for group, name in zip(same_N[:before].tolist(), known_names, strict=True):
        trained_as.setdefault(group, name)
    identical_to = {} if training is None else dict(zip(training.digests, training.names, strict=True))
    known: dict[int, str] = {}
    pictures: set[int] = set()
    for place, (group, digest) in enumerate(zip(same_N[before:].tolist(), digests, strict=True)):
        if group in trained_as:
            known[place] = identical_to.get(digest, trained_as[group])
            pictures.add(group)
    return Recognized(
        known=known,
        identical=frozenset(place for place in known if digests[place] in identical_to),
        groups=len(pictures),
        group_N=together_N[before:],
    )


def _arrays() -> list[str]:
    """The fields of `Looks` that are arrays with a row per image."""
    return [field.name for field in fields(Looks) if field.name != "modes"]


def _joined(first: Looks, second: Looks) -> Looks:
    arrays = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _arrays()}
    return Looks(modes=(*first.modes, *second.modes), **arrays)


def _bytes(digest: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(digest), np.uint8)
