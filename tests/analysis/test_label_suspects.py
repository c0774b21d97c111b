"""Confident learning against the paper's steps written out one image at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.analysis.label_suspects import confident_joint, label_suspects


def slow_joint(probabilities_NK: npt.NDArray[np.floating], labels_N: npt.NDArray[np.integer]) -> list[list[int]]:
    """Equation (1) of the paper: counts of x labeled i that are confidently j; collisions go to the likeliest."""
    classes = probabilities_NK.shape[1]
    threshold = []
    for j in range(classes):
        mine = [probabilities_NK[n][j] for n in range(len(labels_N)) if labels_N[n] == j]
        threshold.append(sum(mine) / len(mine) if mine else float("inf"))
    joint = [[0] * classes for _ in range(classes)]
    for n, label in enumerate(labels_N):
        confident = [j for j in range(classes) if probabilities_NK[n][j] >= threshold[j]]
        if confident:
            joint[label][max(confident, key=lambda j: probabilities_NK[n][j])] += 1
    return joint


def slow_suspects(probabilities_NK: npt.NDArray[np.floating], labels_N: npt.NDArray[np.integer]) -> set[int]:
    """Prune by noise rate: for i != j the n * Q[i][j] images labeled i with the largest p_j - p_i."""
    joint = slow_joint(probabilities_NK, labels_N)
    pruned = set()
    for i, row in enumerate(joint):
        members = [n for n in range(len(labels_N)) if labels_N[n] == i]
        for j, count in enumerate(row):
            if i != j and sum(row):
                many = round(count / sum(row) * len(members))
                by_margin = sorted(members, key=lambda n: probabilities_NK[n][i] - probabilities_NK[n][j])
                pruned |= set(by_margin[:many])
    return {n for n in pruned if probabilities_NK[n].argmax() != labels_N[n]}


def noisy(seed: int, images: int = 300, classes: int = 4) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]:
    rng = np.random.default_rng(seed)
    truth_N = rng.integers(0, classes, images)
    labels_N = np.where(rng.random(images) < 0.1, rng.integers(0, classes, images), truth_N)
    logits_NK = rng.normal(0, 1, (images, classes)) + 2.5 * np.eye(classes)[truth_N]
    odds_NK = np.exp(logits_NK)
    return odds_NK / odds_NK.sum(axis=1, keepdims=True), labels_N


def test_the_joint_and_the_suspects_are_those_of_the_paper() -> None:
    for seed in range(8):
        probabilities_NK, labels_N = noisy(seed)
        assert confident_joint(probabilities_NK, labels_N).tolist() == slow_joint(probabilities_NK, labels_N)
        suspects = label_suspects(probabilities_NK, labels_N)
        assert {suspect.place for suspect in suspects} == slow_suspects(probabilities_NK, labels_N) != set()


def test_the_surest_contradiction_comes_first_and_says_what_is_likelier() -> None:
    probabilities_NK, labels_N = noisy(0)
    suspects = label_suspects(probabilities_NK, labels_N)
    assert [suspect.margin for suspect in suspects] == sorted(suspect.margin for suspect in suspects)
    for suspect in suspects:
        assert suspect.suggestion == probabilities_NK[suspect.place].argmax() != labels_N[suspect.place]
        assert suspect.label_probability == probabilities_NK[suspect.place, labels_N[suspect.place]]
        assert suspect.suggestion_probability == probabilities_NK[suspect.place].max()


def test_good_labels_have_no_suspects() -> None:
    labels_N = np.repeat([0, 1, 2], 20)
    assert label_suspects(0.9 * np.eye(3)[labels_N] + 0.1 / 3, labels_N) == ()


def test_a_class_that_no_image_has_is_suggested_to_nobody() -> None:
    probabilities_NK, labels_N = noisy(1)
    labels_N = np.where(labels_N == 2, 3, labels_N)
    assert all(suspect.place >= 0 for suspect in label_suspects(probabilities_NK, labels_N))
    assert confident_joint(probabilities_NK, labels_N)[:, 2].sum() == 0
