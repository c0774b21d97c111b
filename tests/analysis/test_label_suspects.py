"""Confident learning against the paper's steps written out one image at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from finetune_advisor.analysis.label_errors import confident_joint, label_suspects


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
    """Prune by noise rate: for i != j the n * Q[i][j] images labeled i with the largest p_j - p_i.

    Less those whose label is over a third as probable as another, or is given them once the sizes of the classes
    are divided out; all classes here are known.
    """
    joint = slow_joint(probabilities_NK, labels_N)
    pruned = set()
    for i, row in enumerate(joint):
        members = [n for n in range(len(labels_N)) if labels_N[n] == i]
        for j, count in enumerate(row):
            if i != j and sum(row) > 0:
                many = round(count / sum(row) * len(members))
                by_margin = sorted(members, key=lambda n: probabilities_NK[n][i] - probabilities_NK[n][j])
                pruned |= set(by_margin[:many])
    counts = [int((labels_N == label).sum()) for label in range(len(joint))]
    even = probabilities_NK / np.maximum(counts, 1)
    outweighed = {n for n in pruned if probabilities_NK[n].max() >= 3 * probabilities_NK[n][labels_N[n]]}
    return {n for n in outweighed if even[n].argmax() != labels_N[n]}


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


def unsure(counts: list[int], seed: int = 0) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]:
    """Classifiers that know nothing but the sizes of the classes."""
    rng = np.random.default_rng(seed)
    labels_N = np.repeat(np.arange(len(counts)), counts)
    odds_NK = np.array(counts) * np.exp(rng.normal(0, 0.4, (len(labels_N), len(counts))))
    return odds_NK / odds_NK.sum(axis=1, keepdims=True), labels_N


def test_rare_classes_that_the_classifiers_do_not_know_have_no_suspects() -> None:
    probabilities_NK, labels_N = unsure([600, 80, 60, 40, 20])
    contradicted = probabilities_NK.argmax(axis=1) != labels_N
    assert contradicted[labels_N > 0].mean() > 0.9, "the largest class is said of nearly everything"
    assert label_suspects(probabilities_NK, labels_N) == ()


@pytest.mark.parametrize(("classes", "each"), [(1000, 3), (100, 12), (4, 9)])
def test_classes_too_small_or_too_many_to_be_known_have_no_suspects(classes: int, each: int) -> None:
    probabilities_NK, labels_N = unsure([each] * classes)
    assert label_suspects(probabilities_NK, labels_N) == ()


def test_a_class_of_under_ten_images_neither_has_suspects_nor_is_suggested() -> None:
    labels_N = np.repeat([0, 1, 2], [60, 60, 9])
    probabilities_NK = 0.9 * np.eye(3)[labels_N] + 0.1 / 3
    probabilities_NK[0] = (0.02, 0.02, 0.96)
    probabilities_NK[125] = (0.96, 0.02, 0.02)
    probabilities_NK[60] = (0.96, 0.02, 0.02)
    assert [(one.place, one.suggestion) for one in label_suspects(probabilities_NK, labels_N)] == [(60, 0)]
    more_N = np.append(labels_N, 2)
    more_NK = np.vstack([probabilities_NK, [0.02, 0.02, 0.96]])
    assert {one.place for one in label_suspects(more_NK, more_N)} == {0, 60, 125}


def test_a_wrong_label_is_found_in_a_rare_class_that_is_known() -> None:
    labels_N = np.repeat([0, 1], [200, 20])
    probabilities_NK = np.array([(0.99, 0.01), (0.1, 0.9)])[labels_N]
    probabilities_NK[210] = (0.995, 0.005)
    probabilities_NK[7] = (0.05, 0.95)
    assert {one.place for one in label_suspects(probabilities_NK, labels_N)} == {7, 210}


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0, 2.0])
def test_never_more_than_half_of_a_class_is_suspected(skill: float) -> None:
    for seed in range(5):
        probabilities_NK, labels_N = unsure([150, 100, 50, 25], seed)
        odds_NK = probabilities_NK * np.exp(skill * np.eye(4)[labels_N])
        found = [labels_N[one.place] for one in label_suspects(odds_NK / odds_NK.sum(1, keepdims=True), labels_N)]
        assert (np.bincount(found, minlength=4) <= np.array([75, 50, 25, 12])).all()


def test_a_label_holds_until_another_is_three_times_as_probable() -> None:
    labels_N = np.repeat([0, 1], 50)
    probabilities_NK = 0.4 * np.eye(2)[labels_N] + 0.3
    for own, places in ((0.26, []), (0.24, [3])):
        probabilities_NK[3] = (own, 1 - own)
        assert [one.place for one in label_suspects(probabilities_NK, labels_N)] == places
