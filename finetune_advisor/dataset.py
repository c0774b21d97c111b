"""The images as every verb sees them: listed, bad files left out and named, split, measured.

Shapes: N images.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from finetune_advisor.errors import DataError
from finetune_advisor.features.extract import Features, Instrument, Progress, measure
from finetune_advisor.images.decode import fingerprint
from finetune_advisor.images.duplicates import Pair, family_ids, known_near_duplicates, near_duplicates
from finetune_advisor.images.health import copies_across
from finetune_advisor.images.sources import Listing, Sample, require_trainable
from finetune_advisor.images.sources.listing import MINIMUM
from finetune_advisor.images.split import split, stratified_folds
from finetune_advisor.images.thumbnails import Looks
from finetune_advisor.techniques.preprocessing import ValueRange
from finetune_advisor.text import counted

log = logging.getLogger(__name__)

TRAINABLE = ("train", "val")


@dataclass(frozen=True, slots=True)
class LeakingGroup:
    """Images that belong together and lie both in a split and in one that trained or chose the model."""

    names: tuple[str, ...]
    own: bool
    """Whether the user's group column says so; otherwise the pictures do."""


@dataclass(frozen=True)
class Dataset:
    """The readable images of a data set, every one with its split, and what the instruments saw of each."""

    listing: Listing
    bad_files: dict[str, str]
    """Name -> why it cannot be decoded; these are in no split."""
    digests: tuple[str, ...]
    """Content digest of each sample of the listing."""
    looks: Looks
    """Of each sample of the listing."""
    pairs: tuple[Pair, ...]
    """Near-duplicates, by their places in the listing."""
    family_N: npt.NDArray[np.intp]
    """Family of each sample of the listing: copies, near-duplicates and the person's own groups stay together."""
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
        """Fold of each of these images (N,): classes in equal shares, families together.

        There are never more folds than images in the smallest class or families in all, but at least two.
        """
        labels_N, family_N = self.labels(index_N), self.family_N[index_N]
        smallest = int(np.bincount(labels_N)[np.unique(labels_N)].min())
        most = min(folds, smallest, len(np.unique(family_N)))
        return stratified_folds(labels_N, max(2, most), seed=seed, groups_N=family_N).astype(np.intp)

    @property
    def contents(self) -> str:
        """What tells later how many images were added, removed or changed; see `digest.fingerprint`."""
        readable = zip(self.listing.samples, self.digests, strict=True)
        unreadable = ((name, "", None) for name in self.bad_files)
        return fingerprint(
            [*((sample.name, self.classes[sample.label], digest) for sample, digest in readable), *unreadable]
        )

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the images that stay on one side of every split, two and more, in the order of their first ones."""
        members: defaultdict[int, list[str]] = defaultdict(list)
        for sample, family in zip(self.listing.samples, self.family_N.tolist(), strict=True):
            members[family].append(sample.name)
        return tuple(tuple(group) for group in members.values() if len(group) > 1)

    def leaking(self, split: str, *, trained: Sequence[str]) -> tuple[LeakingGroup, ...]:
        """Groups of images that lie in this split and in one that trained or chose the model.

        These are byte-identical files, near-duplicates that are sure enough for an alarm, and the user's own groups.
        """
        split_of = {sample.name: sample.split for sample in self.listing.samples}
        copies = copies_across(list(split_of), self.digests, self.pairs, split_of)
        own: defaultdict[str, list[str]] = defaultdict(list)
        for sample in self.listing.samples:
            if sample.group is not None:
                own[sample.group].append(sample.name)

        def across(names: Sequence[str]) -> bool:
            sides = {split_of[name] for name in names}
            return split in sides and not sides.isdisjoint(trained)

        found = [LeakingGroup(names, own=False) for names in copies if across(names)]
        covered = {name for group in found for name in group.names}
        # A group of the user's whose images are copies of training images anyway is no further group.
        return *found, *(
            LeakingGroup(tuple(names), own=True)
            for names in own.values()
            if across(names) and not all(name in covered for name in names if split_of[name] == split)
        )

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
    value_range: ValueRange | None = None,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """Look at each image of a listing once, leave out what cannot be decoded, and split the rest.

    Copies, near-duplicates and the person's own groups are kept on one side of an automatic split.

    Args:
        value_range: which values of images with more than 8 bits per channel are black and white; that of every
            instrument.

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
        value_range=value_range,
        use_cache=use_cache,
        progress=progress,
    )
    bad_files = {listing.samples[index].name: reason for index, reason in measured.unreadable.items()}
    for name, reason in bad_files.items():
        log.warning("left out: %s: %s", name, reason)
    samples = tuple(listing.samples[index] for index in measured.readable)
    digests = tuple(str(measured.digests[index]) for index in measured.readable)
    _require_readable(listing, samples, bad_files)
    pairs = (known_near_duplicates if use_cache else near_duplicates)(measured.looks)
    family_N = family_ids(len(samples), digests=digests, pairs=pairs, groups=[sample.group for sample in samples])
    groups = _group_names(samples, digests, family_N)
    divided = split(replace(listing, samples=samples), validation=validation, seed=seed, groups=groups)
    assert [s.name for s in divided.samples] == [s.name for s in samples], "a split keeps the order"
    _require_different(divided, family_N)
    _warn_of_split_groups(divided)
    return Dataset(
        listing=divided,
        bad_files=bad_files,
        digests=digests,
        looks=measured.looks,
        pairs=pairs,
        family_N=family_N,
        features=measured.features,
        images_seconds=perf_counter() - start,
    )


def _warn_of_split_groups(listing: Listing) -> None:
    """A person's own split is kept as it is, also where it contradicts the person's groups; copies are for health."""
    splits: defaultdict[str, set[str | None]] = defaultdict(set)
    for sample in listing.samples:
        if sample.group is not None:
            splits[sample.group].add(sample.split)
    divided = sum("test" in sides and len(sides) > 1 for sides in splits.values())
    if divided:
        log.warning("%s lie in test and in training: test scores may be too good", counted(divided, "group"))


def _group_names(samples: Sequence[Sample], digests: Sequence[str], family_N: npt.NDArray[np.intp]) -> dict[str, str]:
    """A name for the family of each image that stays the same when other images come or go: its least digest."""
    least: dict[int, str] = {}
    for family, digest in zip(family_N.tolist(), digests, strict=True):
        least[family] = min(digest, least.get(family, digest))
    return {sample.name: least[family] for sample, family in zip(samples, family_N.tolist(), strict=True)}


def _require_readable(listing: Listing, samples: Sequence[Sample], bad_files: dict[str, str]) -> None:
    """What is left after bad files were taken out must still be something to train on."""
    if not bad_files:
        return
    examples = "; ".join(f"{name}: {reason}" for name, reason in list(bad_files.items())[:3])
    if not samples:
        raise DataError(
            f"None of the {len(listing.samples)} image files in {listing.source} can be decoded ({examples}).",
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


def _require_different(listing: Listing, family_N: npt.NDArray[np.intp]) -> None:
    """Relatives lie on one side, so there must be something else for the other side."""
    trainable = [place for place, sample in enumerate(listing.samples) if sample.split in TRAINABLE]
    different = len(np.unique(family_N[trainable]))
    if different > 1 and listing.part("val"):
        return
    raise DataError(
        f"The {len(trainable)} training images in {listing.source} are copies of {counted(different, 'image')}, or "
        "belong to so few groups, which leaves none to validate with.",
        "Expected at least 2 different images in a class: add some.",
    )
