"""Members chosen by their answers.

Shapes: M members, N images, K classes.
"""

from __future__ import annotations

import numpy as np
import pytest

from finetune_advisor.ensembles.choose import equal, greedy, ranking
from finetune_advisor.metrics import log_loss

LABELS_N = np.array([0, 1] * 20)


def answers(sure: float, *, wrong: int = 0) -> np.ndarray:
    """Probabilities (N, 2) of a member that gives the label `sure`, and as much to the other one in `wrong` images."""
    right_N = np.full(len(LABELS_N), sure)
    right_N[:wrong] = 1 - sure
    return np.where(LABELS_N[:, None] == np.arange(2), right_N[:, None], 1 - right_N[:, None])


def test_the_ranking_goes_by_accuracy_then_by_log_loss() -> None:
    stacked = np.stack([answers(0.6), answers(0.99, wrong=2), answers(0.9), answers(0.9, wrong=30)])
    assert ranking(stacked, LABELS_N) == [2, 0, 1, 3]


def test_equal_weights_leave_out_the_others() -> None:
    assert equal([0, 2], 3).tolist() == [0.5, 0, 0.5]


def test_greedy_weights_are_the_best_of_all_draws_found_by_trying_them() -> None:
    """Two members that are wrong on different images: independently, a search over all mixtures in twentieths."""
    flipped = np.roll(answers(0.9, wrong=10), 20, axis=0)
    stacked = np.stack([answers(0.9, wrong=10), flipped, answers(0.9, wrong=40)])
    weight_M = greedy(stacked, LABELS_N, [0, 1, 2])
    assert weight_M.sum() == pytest.approx(1) and weight_M[2] == 0, "nobody asks the one that is always wrong"
    found = log_loss(np.tensordot(weight_M, stacked, 1), LABELS_N)
    grid = [log_loss(a / 20 * stacked[0] + (1 - a / 20) * stacked[1], LABELS_N) for a in range(21)]
    assert found <= min(grid) + 1e-9


def test_greedy_never_draws_who_is_not_kept() -> None:
    stacked = np.stack([answers(0.99), answers(0.6), answers(0.7)])
    assert greedy(stacked, LABELS_N, [1, 2])[0] == 0


def test_a_perfect_member_stays_alone() -> None:
    stacked = np.stack([answers(0.999), answers(0.6)])
    assert greedy(stacked, LABELS_N, [0, 1]).tolist() == [1, 0]
