"""Which members count and how much, by held-out images; and whether that was better than the best one.

Shapes: M members, N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from finetune_advisor.ensembles.members import ask
from finetune_advisor.images.sources import Listing
from finetune_advisor.images.split import SavedSplits, group_ids
from finetune_advisor.metrics import log_loss, paired_bootstrap
from finetune_advisor.processes import default_workers
from finetune_advisor.records.ensemble import Cost, Gain
from finetune_advisor.records.predictions import Answers
from finetune_advisor.techniques.preprocessing import Preprocess

ROUNDS_A_MEMBER = 5
"""Draws of the greedy selection for each member there is."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


def ranking(probabilities_MNK: FloatArray, labels_N: IntArray) -> list[int]:
    """The members from the most accurate to the least; of equally accurate ones the surer first."""

    def key(member: int) -> tuple[float, float]:
        probabilities_NK = probabilities_MNK[member]
        return -float((probabilities_NK.argmax(1) == labels_N).mean()), log_loss(probabilities_NK, labels_N)

    return sorted(range(len(probabilities_MNK)), key=key)


def equal(members: Sequence[int], count: int) -> FloatArray:
    """The same weight (M,) for these of `count` members, none for the others."""
    weight_M = np.zeros(count)
    weight_M[list(members)] = 1 / len(members)
    return weight_M


def greedy(probabilities_MNK: FloatArray, labels_N: IntArray, members: Sequence[int]) -> FloatArray:
    """How often each of these members is drawn when the next is always the one that lowers the log loss most.

    It starts from the best one, a member may be drawn again, and the best moment of all draws is taken: on few images
    that keeps weights near those of one member or of all.

    Source: Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models", ICML 2004.

    Returns:
        Weights (M,), which sum to 1.
    """
    first = min(members, key=lambda member: log_loss(probabilities_MNK[member], labels_N))
    drawn = [first]
    sum_NK = np.array(probabilities_MNK[first], dtype=np.float64)
    losses = [log_loss(sum_NK, labels_N)]
    for _ in range(ROUNDS_A_MEMBER * len(members) - 1):
        loss_of = {m: log_loss((sum_NK + probabilities_MNK[m]) / (len(drawn) + 1), labels_N) for m in members}
        best = min(loss_of, key=loss_of.__getitem__)
        drawn.append(best)
        sum_NK += probabilities_MNK[best]
        losses.append(loss_of[best])
    kept = drawn[: int(np.argmin(losses)) + 1]
    return np.bincount(kept, minlength=len(probabilities_MNK)) / len(kept)


@dataclass(frozen=True)
class Part:
    """The images of one split, with the label that a model gives each and the family it belongs to."""

    split: Literal["test", "val"]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels_N: npt.NDArray[np.integer]
    family_N: npt.NDArray[np.integer]

    @staticmethod
    def of(
        listing: Listing,
        saved: SavedSplits,
        split: Literal["test", "val"],
        classes: Sequence[str],
        *,
        groups: Mapping[str, str] | None = None,
    ) -> Part | None:
        """The images that a run had in this split; None where it had none.

        Args:
            listing: where they lie now.
            saved: the run's splits.
            split: which one.
            classes: of the models.
            groups: what `load_groups` read of the run.
        """
        samples = [sample for sample in listing.samples if sample.name in saved and saved[sample.name][1] == split]
        if not samples:
            return None
        names = [sample.name for sample in samples]
        return Part(
            split,
            tuple(classes),
            tuple(names),
            tuple(sample.path for sample in samples),
            np.array([classes.index(listing.classes[sample.label]) for sample in samples]),
            group_ids(names, groups or {}),
        )

    def answers(self, probabilities_NK: npt.NDArray[np.floating]) -> Answers:
        return Answers(self.names, self.classes, self.labels_N, probabilities_NK)


@dataclass(frozen=True)
class Judged:
    """The ensemble beside the best single member."""

    answers: Answers
    best_NK: npt.NDArray[np.floating]
    cost: Cost


def judge(
    part: Part, ensemble: tuple[nn.Module, Preprocess], best: tuple[nn.Module, Preprocess], *, device: str
) -> Judged:
    """Ask both about the same images.

    Raises:
        RunError: an image cannot be read any more.
    """
    together, alone = (
        ask([net.to(device)], preprocess, part.paths, device=device, workers=default_workers())
        for net, preprocess in (ensemble, best)
    )
    seconds, best_seconds = float(together.seconds_M[0]), float(alone.seconds_M[0])
    return Judged(
        part.answers(together.probabilities_MNK[0]),
        alone.probabilities_MNK[0],
        Cost(seconds=seconds, best_seconds=best_seconds, times=seconds / best_seconds),
    )


def gain_of(
    split: Literal["test", "val"],
    answers: Answers,
    best_NK: npt.NDArray[np.floating],
    *,
    best: str,
    family_N: npt.NDArray[np.integer] | None = None,
) -> Gain:
    """The gain over a member's probabilities of the same images; without families each image is one."""
    labels_N = answers.labels_N
    hit_N, best_hit_N = answers.probabilities_NK.argmax(1) == labels_N, best_NK.argmax(1) == labels_N
    gain, low, high = paired_bootstrap(hit_N, best_hit_N, family_N)
    return Gain(
        split=split,
        images=len(labels_N),
        accuracy=float(hit_N.mean()),
        best=best,
        best_accuracy=float(best_hit_N.mean()),
        gain=gain,
        low=low,
        high=high,
        groups=len(labels_N) if family_N is None else len(np.unique(family_N)),
    )
