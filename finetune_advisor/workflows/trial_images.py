"""The images of a trial: a part of the trainable ones to learn from, another to judge on, relatives on one side.

Shapes: N images, M of them held out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.facts import legible
from finetune_advisor.artifacts.profile import Profile
from finetune_advisor.artifacts.storage import atomic_write
from finetune_advisor.data.manifest_text import manifest_text
from finetune_advisor.data.sample import stratified_sample
from finetune_advisor.data.sources import Listing, Sample, Split
from finetune_advisor.data.sources.trainable import MINIMUM
from finetune_advisor.dataset import Dataset, open_dataset
from finetune_advisor.errors import DataError
from finetune_advisor.features import Progress
from finetune_advisor.instruments import Instrument

SIDES = 3
"""One image in so many judges: with fewer the noise hides what a border case differs by."""

GROUP = "group"
"""Column of the manifest that says which images are relatives."""


@dataclass(frozen=True)
class TrialImages:
    """Images that may be learned from, and others to judge on; the group of each is its family."""

    learn: Listing
    judge: Listing
    seed: int

    @property
    def size(self) -> int:
        return len(self.learn.samples) + len(self.judge.samples)

    def part(self, share: float) -> TrialImages:
        """That share of both sides, each class with its share; a larger part holds the smaller ones."""
        return replace(self, learn=self._some(self.learn, share), judge=self._some(self.judge, share))

    def _some(self, side: Listing, share: float) -> Listing:
        return stratified_sample(side, max(1, round(share * len(side.samples))), seed=self.seed)

    def families(self, names: Sequence[str]) -> npt.NDArray[np.intp]:
        """Number of the family of each image that is judged on, by its name in the manifest (M,)."""
        number = {_name(sample): int(str(sample.group)) for sample in self.judge.samples}
        return np.array([number[name] for name in names], np.intp)

    def save(self, path: Path) -> None:
        """Write a manifest in which the images to judge on are the test split: a run scores them once, at its end.

        Raises:
            StorageError: the file cannot be written.
        """
        samples = (*_in_split(self.learn, "train"), *_in_split(self.judge, "test"))
        atomic_write(path, manifest_text(samples, self.learn.classes, relative_to=None))


def trial_images(
    listing: Listing,
    profile: Profile,
    instruments: Sequence[Instrument],
    *,
    device: str,
    workers: int,
    progress: Progress,
) -> TrialImages:
    """Divide the trainable images of a data set into those to learn from and those to judge on.

    Test images are not even looked at. A person's own validation images are trainable ones like the others.

    Args:
        listing: images that the profile was measured on.
        profile: says which of them cannot be read, and the scale of their values.
        instruments: whose features runs will need; those in the cache cost nothing.
        device: torch device.
        workers: processes that decode what is not in the cache.
        progress: called with (done, to do) while images are looked at.

    Raises:
        DataError: relatives and rare classes leave nothing to judge on.
    """
    bad = {file.path for file in profile.health.bad_files}
    usable = tuple(s for s in listing.samples if s.split != "test" and legible(s.name) not in bad)
    data = open_dataset(
        replace(listing, samples=usable),
        instruments,
        validation=profile.validation,
        seed=profile.seed,
        device=device,
        workers=workers,
        value_range=profile.value_range,
        progress=progress,
    )
    judges_N = _judges(data, profile.seed)
    if not judges_N.any():
        raise DataError(
            f"the {len(usable):,} trainable images are too few, or too closely related, to hold some out",
            "Expected three images that are no relatives in some class.",
        )
    samples = [
        replace(sample, split=None, group=str(family))
        for sample, family in zip(data.listing.samples, data.family_N.tolist(), strict=True)
    ]
    sides = [tuple(s for s, judges in zip(samples, judges_N, strict=True) if judges == side) for side in (False, True)]
    learn, judge = (replace(data.listing, samples=side) for side in sides)
    return TrialImages(learn, judge, profile.seed)


def _judges(data: Dataset, seed: int) -> npt.NDArray[np.bool_]:
    """Which images are held out (N,): a share of every class that leaves enough of it, families together."""
    index_N = np.arange(len(data.listing.samples))
    labels_N, family_N = data.labels(index_N), data.family_N
    judges_N = data.folds(index_N, folds=SIDES, seed=seed) == 0
    left = Counter(labels_N[~judges_N].tolist())
    short = [label for label in range(len(data.classes)) if left[label] < MINIMUM]
    kept = np.unique(family_N[judges_N & np.isin(labels_N, short)])
    return np.asarray(judges_N & ~np.isin(family_N, kept))


def _in_split(listing: Listing, split: Split) -> Iterable[Sample]:
    return (replace(sample, split=split) for sample in listing.samples)


def _name(sample: Sample) -> str:
    return sample.path.as_posix()
