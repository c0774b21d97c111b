"""Which images each step trains on, and the dice of each image: pure functions of a seed.

A killed run therefore resumes to the same bits: nothing about the order is ever stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

# A seed's uses are told apart by the first word of the spawn key, so that no two share their dice.
_ORDER, _AUGMENTATION, _MIXING = 0, 1, 2


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How the images of a training set are dealt to steps, epoch after epoch.

    Each epoch visits every image once in an order of its own. The last batch of an epoch holds what is
    left; a last batch of a single image is joined to the one before, because BatchNorm cannot train on one
    image.

    Attributes:
        images: how many there are, at least 1.
        batch: images per step, at least 1; more than there are gives one step per epoch.
        seed: other seeds give other orders.
        rank: the process, of `processes` that divide each batch, whose images are asked for.
        processes: how many divide it.
    """

    images: int
    batch: int
    seed: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        assert self.images > 0, self.images
        assert self.batch > 0, self.batch
        assert 0 <= self.rank < self.processes, (self.rank, self.processes)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        whole, left = divmod(self.images, self.batch)
        if left == 0 or (left == 1 and whole > 0):
            return whole
        return whole + 1

    def epoch(self, step: int) -> int:
        """The epoch that a step belongs to; both count from 0."""
        return step // self.steps_per_epoch

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Indices of this process's images of a step (counted from 0), in the order of the batch; maybe none.

        Nothing is repeated to fill a batch up. The first and second image stay together, the third and fourth, and so
        on: images are mixed in pairs, and BatchNorm cannot train on one. The last process takes what is left over.
        """
        whole = self._whole(step)
        pairs = len(whole) // 2
        sharing = min(self.processes, max(1, pairs))
        if self.rank >= sharing:
            return whole[:0]
        start = 2 * (pairs * self.rank // sharing)
        return whole[start:] if self.rank == sharing - 1 else whole[start : 2 * (pairs * (self.rank + 1) // sharing)]

    def size(self, step: int) -> int:
        """How many images a step has, over all processes."""
        return len(self._whole(step))

    def _whole(self, step: int) -> npt.NDArray[np.int64]:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(self.images, self.seed, epoch)
        start = position * self.batch
        stop = self.images if position == self.steps_per_epoch - 1 else start + self.batch
        return order[start:stop]


def image_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The dice for one image in one epoch, the same in whatever process and order it is asked for."""
    return _generator(seed, _AUGMENTATION, epoch, index)


def mixing_rng(seed: int, step: int) -> np.random.Generator:
    """The dice for mixing the images of one step, the same in all processes."""
    return _generator(seed, _MIXING, step)


@lru_cache(maxsize=4)
def _order(images: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    order = _generator(seed, _ORDER, epoch).permutation(images)
    order.flags.writeable = False  # it is shared by all callers
    return order


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
