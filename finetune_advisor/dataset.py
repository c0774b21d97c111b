"""The images as every verb sees them: listed, bad files left out and named, split, measured.

Shapes: N images.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from finetune_advisor.data.sources import Listing, Sample, require_trainable
from finetune_advisor.data.sources.trainable import MINIMUM
from finetune_advisor.data.split import split, stratified_folds
from finetune_advisor.data.wording import counted
from finetune_advisor.errors import DataError
from finetune_advisor.features import Features, Instrument, Progress, measure

log = logging.getLogger(__name__)

TRAINABLE = ("train", "val")


@dataclass(frozen=True)
class Dataset:
    """The readable images of a data set, every one with its split, and what the instruments saw of each."""

    listing: Listing
    bad_files: dict[str, str]
    """Name -> why it cannot be decoded; these are in no split."""
    digests: tuple[str, ...]
    """Content digest of each sample of the listing."""
    features: tuple[Features, ...]
    """One per instrument, a row per sample of the listing."""
    images_seconds: float

    @property
    def classes(self) -> tuple[str, ...]:
        return self.listing.classes

    def index(self, *splits: str) -> npt.NDArray[np.intp]:
        """Places of the samples in these splits, in the listing's order (N,)."""
        samples = self.listing.samples
        return np.array([i for i, sample in enumerate(samples) if sample.split in splits], dtype=np.intp)

    def labels(self, index_N: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.array([self.listing.samples[i].label for i in index_N], dtype=np.intp)

    def samples(self, index_N: npt.NDArray[np.intp]) -> tuple[Sample, ...]:
        return tuple(self.listing.samples[i] for i in index_N)

    def folds(self, index_N: npt.NDArray[np.intp], *, folds: int, seed: int) -> npt.NDArray[np.intp]:
        """Fold of each of these images (N,): classes in equal shares, byte-identical files together.

        There are never more folds than images in the smallest class, but at least two.
        """
        labels_N = self.labels(index_N)
        smallest = int(np.bincount(labels_N)[np.unique(labels_N)].min())
        _, content_N = np.unique([self.digests[i] for i in index_N], return_inverse=True)
        return stratified_folds(labels_N, max(2, min(folds, smallest)), seed=seed, groups_N=content_N)

    @property
    def has_test(self) -> bool:
        return any(sample.split == "test" for sample in self.listing.samples)


def open_dataset(
    listing: Listing,
    instruments: Sequence[Instrument],
    *,
    validation: float,
    seed: int,
    device: str,
    workers: int,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """Look at each image of a listing once, leave out what cannot be decoded, and split the rest.

    Byte-identical files are kept on one side of an automatic split.

    Raises:
        DataError: no usable images, fewer than two classes, or a class with too few readable images.
    """
    require_trainable(listing)
    start = perf_counter()
    measured = measure(
        [sample.path for sample in listing.samples],
        instruments,
        device=device,
        workers=workers,
        use_cache=use_cache,
        progress=progress,
    )
    bad_files = {listing.samples[index].name: reason for index, reason in measured.unreadable.items()}
    for name, reason in bad_files.items():
        log.warning("left out: %s: %s", name, reason)
    samples = tuple(listing.samples[index] for index in measured.readable)
    digests = tuple(str(measured.digests[index]) for index in measured.readable)
    _require_readable(listing, samples, bad_files)
    groups = {sample.name: digest for sample, digest in zip(samples, digests, strict=True)}
    divided = split(replace(listing, samples=samples), validation=validation, seed=seed, groups=groups)
    assert [s.name for s in divided.samples] == [s.name for s in samples], "a split keeps the order"
    _require_different(divided, digests)
    return Dataset(
        listing=divided,
        bad_files=bad_files,
        digests=digests,
        features=measured.features,
        images_seconds=perf_counter() - start,
    )


def _require_readable(listing: Listing, samples: Sequence[Sample], bad_files: dict[str, str]) -> None:
    """What is left after bad files were taken out must still be something to train on."""
    if not bad_files:
        return
    examples = "; ".join(f"{name}: {reason}" for name, reason in list(bad_files.items())[:3])
    if not samples:
        raise DataError(
            f"None of the {len(listing.samples)} image files in {listing.root} can be decoded ({examples}).",
            "Replace them with readable images.",
        )
    trainable = Counter(sample.label for sample in samples if sample.split != "test")
    to_train_on = Counter(sample.label for sample in samples if sample.split in (None, "train"))
    short = [name for label, name in enumerate(listing.classes) if trainable[label] < MINIMUM or not to_train_on[label]]
    if short:
        raise DataError(
            f"After leaving out {len(bad_files)} unreadable files, too few training images are left in: "
            f"{', '.join(short)} ({examples}).",
            f"Expected at least {MINIMUM} in each class, one of them to train on: "
            "replace the unreadable files or remove these classes.",
        )


def _require_different(listing: Listing, digests: Sequence[str]) -> None:
    """Copies of one image lie on one side, so there must be something else for the other side."""
    trainable = [place for place, sample in enumerate(listing.samples) if sample.split in TRAINABLE]
    different = len({digests[place] for place in trainable})
    if different > 1 and listing.part("val"):
        return
    raise DataError(
        f"The {len(trainable)} training images in {listing.root} are copies of {counted(different, 'file')}, "
        "byte for byte, which leaves none to validate with.",
        "Expected at least 2 different images in a class: add some.",
    )
