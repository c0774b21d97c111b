"""Which members, and how much each counts, by their answers on held-out images.

Shapes: M members, N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune_advisor.metrics import log_loss

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
