"""A smaller data set that stands for a large one.

Shapes: N images, S strata (a class in a split).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from finetune_advisor.images.sources import Listing, Sample, Split
from finetune_advisor.images.sources.listing import MINIMUM

Ints = npt.NDArray[np.int64]
Stratum = tuple[Split | None, int]

_TRAINING = (None, "train")
_HALVINGS = 60
"""Steps of the bisection, more than a double's fraction has bits."""


def evenly_spaced(images: int, most: int) -> list[int]:
    """Places of at most `most` of so many images, the first and the last among them."""
    places: list[int] = np.unique(np.linspace(0, images - 1, min(images, most)).round().astype(int)).tolist()
    return places


def stratified_sample(listing: Listing, limit: int, *, seed: int) -> Listing:
    """At most `limit` of the images, in the listing's order, in which every class of every split has its share.

    Each class keeps at least two trainable images, one of them in the train split, if it has them, and each split at
    least one image, as far as the limit allows. Groups are not kept whole.

    Which images of a class are taken follows from a hash of the seed and their names, so that adding images moves few
    others.

    Args:
        listing: the images; none is opened.
        limit: most images to take, at least 1.
        seed: other seeds take other images.
    """
    assert limit >= 1, limit
    if len(listing.samples) <= limit:
        return listing
    counts = Counter((sample.split, sample.label) for sample in listing.samples)
    strata = sorted(counts, key=lambda stratum: (stratum[0] or "", stratum[1]))
    size_S = np.array([counts[stratum] for stratum in strata], np.int64)
    quota_S = _quotas(size_S, _minima(strata, size_S, limit), limit)
    place_of = {stratum: place for place, stratum in enumerate(strata)}
    stratum_N = np.array([place_of[sample.split, sample.label] for sample in listing.samples], np.int64)
    order_N = np.lexsort((_places(listing.samples, seed), stratum_N))
    first_S = np.cumsum(size_S) - size_S
    rank_N = np.arange(len(order_N)) - first_S[stratum_N[order_N]]
    taken = np.sort(order_N[rank_N < quota_S[stratum_N[order_N]]])
    return replace(listing, samples=tuple(listing.samples[index] for index in taken.tolist()))


def _minima(strata: Sequence[Stratum], size_S: Ints, limit: int) -> Ints:
    """The fewest images to take of each stratum (S,): what training needs, or less where the limit is lower still."""
    for per_class in (MINIMUM, 1):
        minimum_S = np.zeros_like(size_S)
        left = dict.fromkeys({label for _, label in strata}, per_class)
        training_first = sorted(range(len(strata)), key=lambda place: strata[place][0] not in _TRAINING)
        for place in training_first:
            split, label = strata[place]
            if split != "test":
                minimum_S[place] = min(left[label], size_S[place])
                left[label] -= int(minimum_S[place])
        for split in {split for split, _ in strata}:
            places = [place for place, stratum in enumerate(strata) if stratum[0] == split]
            if not minimum_S[places].any():
                minimum_S[max(places, key=lambda place: size_S[place])] = 1
        if minimum_S.sum() <= limit:
            return minimum_S
    return np.zeros_like(size_S)


def _quotas(size_S: Ints, minimum_S: Ints, limit: int) -> Ints:
    """Images to take of each stratum (S,), `limit` together: one share of all, but never less than the minima."""

    def at(share: float) -> Ints:
        share_S: Ints = np.floor(share * size_S).astype(np.int64)
        return np.maximum(minimum_S, share_S, dtype=np.int64)

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).sum() <= limit else (low, middle)
    quota_S = at(low)
    lacking_S = np.where(quota_S < size_S, low * size_S - quota_S, -np.inf)
    missing = limit - int(quota_S.sum())
    quota_S[np.argsort(-lacking_S, kind="stable")[:missing]] += 1
    return quota_S


def _places(samples: Sequence[Sample], seed: int) -> npt.NDArray[np.uint64]:
    """The place of each image in the draw (N,)."""
    opening = hashlib.blake2b(f"{seed}\0".encode(), digest_size=8)

    def place(name: str) -> bytes:
        drawn = opening.copy()
        drawn.update(name.encode(errors="surrogateescape"))
        return drawn.digest()

    return np.frombuffer(b"".join(place(sample.name) for sample in samples), np.uint64)
