"""Linear classifiers at every stage, judged on images they did not see.

Shapes: N images, D features, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression

from finetune_advisor.analysis.probes import LEAST_PER_CLASS, Probed, images_to_use, probe, stratified
from finetune_advisor.features.extract import Features
from finetune_advisor.techniques.strategy import LinearProbe

IMAGES, FOLDS = 120, 5
LABELS: npt.NDArray[np.int64] = np.arange(IMAGES) % 3
FOLD: npt.NDArray[np.int64] = np.arange(IMAGES) // 3 % FOLDS


def made_up(signals: dict[str, float]) -> Features:
    """Stages whose features say more or less about the class, by the distance of its center in deviations."""
    rng = np.random.default_rng(0)
    arrays = {}
    for name, signal in signals.items():
        centers_KD = signal * np.eye(3, 8)
        arrays[name] = (centers_KD[LABELS] + rng.normal(size=(IMAGES, 8))).astype(np.float32)
    return Features(arrays, {}, tuple(name.removeprefix("stage.") for name in signals if name != "pooled"))


def probed(labels_N: npt.NDArray[np.int64] = LABELS) -> Probed:
    return probe(FEATURES, labels_N, FOLD, family_N=np.arange(IMAGES), classes=3, device="cpu")


FEATURES = made_up({"stage.early": 0.0, "stage.late": 2.0, "pooled": 4.0})


def test_the_more_a_stage_says_the_higher_its_score() -> None:
    early, late, pooled, everything = probed().scores
    assert [score.stage for score in (early, late, pooled, everything)] == ["early", "late", "pooled", "all"]
    assert early.accuracy < 0.5 < late.accuracy < pooled.accuracy
    assert everything.log_loss < early.log_loss
    assert {score.strength for score in (early, late, pooled)} <= set(LinearProbe().strengths)
    assert early.strength >= pooled.strength, "where there is nothing to learn, learn little"


def test_scores_are_those_of_scikit_learn_on_the_same_folds() -> None:
    [score] = [s for s in probed().scores if s.stage == "late"]
    x_ND = FEATURES.stage("late").astype(np.float64)
    z_ND = (x_ND - x_ND.mean(0)) / np.sqrt(x_ND.std(0) * x_ND.std(0).sum())
    accuracies, losses = [], []
    for fold in range(FOLDS):
        rest, held_out = np.not_equal(FOLD, fold), np.equal(FOLD, fold)
        model = LogisticRegression(C=1 / (rest.sum() * score.strength), tol=1e-8, max_iter=5000)
        probabilities_NK: npt.NDArray[np.float64] = model.fit(z_ND[rest], LABELS[rest]).predict_proba(z_ND[held_out])
        accuracies.append((probabilities_NK.argmax(1) == LABELS[held_out]).mean())
        losses.append(-np.log(probabilities_NK[np.arange(held_out.sum()), LABELS[held_out]]).mean())
    assert score.accuracy == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert score.log_loss == pytest.approx(np.mean(losses), rel=1e-3)
    assert score.std == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(FOLDS), abs=1e-6)


def test_labels_without_rhyme_or_reason_are_not_predicted() -> None:
    shuffled_N = np.random.default_rng(3).permutation(LABELS)
    scores = probed(shuffled_N).scores
    assert all(0.15 < score.accuracy < 0.55 for score in scores)


def test_progress_names_every_place_once() -> None:
    calls: list[tuple[int, int]] = []
    probe(
        FEATURES,
        LABELS,
        FOLD,
        family_N=np.arange(IMAGES),
        classes=3,
        device="cpu",
        progress=lambda done, todo: calls.append((done, todo)),
    )
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_probabilities_are_out_of_fold_and_of_the_chosen_strength() -> None:
    found = probed()
    assert found.index_N.tolist() == list(range(IMAGES))
    for score in found.scores:
        probabilities_NK = found.probabilities_NK[score.stage]
        np.testing.assert_allclose(probabilities_NK.sum(axis=1), 1)
        assert (probabilities_NK.argmax(axis=1) == LABELS).mean() == pytest.approx(score.accuracy)
        picked_N = probabilities_NK[np.arange(IMAGES), LABELS]
        assert -np.log(picked_N).mean() == pytest.approx(score.log_loss, rel=1e-6)


def test_many_images_are_sampled_with_every_class_in_it() -> None:
    labels_N = np.repeat([0, 1, 2], [9000, 900, 3])
    most = images_to_use(1_000_000, 3)
    assert most < 1_000_000
    chosen_N = stratified(labels_N, 1000)
    counts = np.bincount(labels_N[chosen_N])
    assert counts[2] == 3 and counts[1] >= LEAST_PER_CLASS and counts.sum() <= 1003
    assert counts[0] / counts[1] == pytest.approx(10, rel=0.05)
