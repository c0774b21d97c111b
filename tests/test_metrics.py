"""The numbers in metrics.json are the ones that scikit-learn and SciPy give."""

from __future__ import annotations

import json
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax as scipy_softmax
from scipy.stats import binomtest
from sklearn import metrics as reference

from finetune_advisor.metrics import (
    Z95,
    accuracy_interval,
    balanced_accuracy,
    confusion_matrix,
    log_loss,
    paired_bootstrap,
    paired_lead,
    score,
    softmax,
    wilson_interval,
)

CLASSES = ("ants", "bees", "wasps", "flies")


def answers(
    *, images: int = 60, classes: int = 4, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Probabilities (N, K) of a classifier that is right more often than not, and the labels (N,)."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, classes, images)
    logits_NK = rng.normal(size=(images, classes))
    logits_NK[np.arange(images), labels_N] += 1.0
    return scipy_softmax(logits_NK, axis=1), labels_N


@pytest.mark.parametrize(
    ("correct", "total"), [(0, 1), (1, 1), (0, 30), (30, 30), (1, 3), (7, 10), (95, 100), (144, 153), (4999, 10000)]
)
def test_interval_is_wilsons(correct: int, total: int) -> None:
    expected = binomtest(correct, total).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(correct, total)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= correct / total <= high <= 1


def test_interval_of_a_share_that_is_no_whole_count_lies_between_its_neighbors() -> None:
    below, between, above = (wilson_interval(correct, 20) for correct in (12, 12.5, 13))
    assert below[0] < between[0] < above[0]
    assert below[1] < between[1] < above[1]


def test_without_images_nothing_is_known() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def grouped(
    groups: int, *, size: int, correlation: float, accuracy: float, seed: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Whether each image is right, and its group: groups of one size, right or wrong together so far."""
    rng = np.random.default_rng(seed)
    spread = (1 - correlation) / correlation
    share_G = rng.beta(accuracy * spread, (1 - accuracy) * spread, groups)
    group_N = np.repeat(np.arange(groups), size)
    return rng.random(len(group_N)) < share_G[group_N], group_N


def test_where_each_image_is_its_own_group_the_interval_of_an_accuracy_is_wilsons() -> None:
    hit_N = np.array([True] * 57 + [False] * 3)
    assert accuracy_interval(hit_N) == accuracy_interval(hit_N, np.arange(60)) == wilson_interval(57, 60)


def test_copies_of_each_image_do_not_narrow_the_interval_of_an_accuracy() -> None:
    hit_G = np.array([True] * 45 + [False] * 15)
    group_N = np.repeat(np.arange(60), 10)
    low, high = accuracy_interval(hit_G[group_N], group_N)
    alone_low, alone_high = wilson_interval(45, 60)
    assert low == pytest.approx(alone_low, abs=0.01)
    assert high == pytest.approx(alone_high, abs=0.01)


def test_groups_whose_images_vary_independently_hardly_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    hit_N, group_N = rng.random(1000) < 0.8, np.repeat(np.arange(100), 10)
    low, high = accuracy_interval(hit_N, group_N)
    single_low, single_high = wilson_interval(int(hit_N.sum()), 1000)
    assert (high - low) / (single_high - single_low) < 1.15


def test_group_intervals_hold_the_truth_where_wilsons_does_not() -> None:
    covered = {"ours": 0, "wilson": 0}
    for seed in range(400):
        hit_N, group_N = grouped(40, size=8, correlation=0.4, accuracy=0.85, seed=seed)
        for name, (low, high) in (
            ("ours", accuracy_interval(hit_N, group_N)),
            ("wilson", wilson_interval(int(hit_N.sum()), len(hit_N))),
        ):
            covered[name] += low <= 0.85 <= high
    assert 0.92 <= covered["ours"] / 400 <= 0.98
    assert covered["wilson"] / 400 < 0.8


@pytest.mark.parametrize("hit", [True, False])
def test_images_that_are_all_right_or_all_wrong_count_as_their_groups(hit: bool) -> None:
    group_N = np.repeat(np.arange(12), 20)
    low, high = accuracy_interval(np.full(240, hit), group_N)
    assert high - low > wilson_interval(12, 12)[1] - wilson_interval(12, 12)[0]
    assert (high if hit else low) == hit


def test_a_single_group_of_images_says_nothing_of_an_accuracy() -> None:
    assert accuracy_interval(np.ones(30, bool), np.zeros(30, int)) == (0.0, 1.0)


def test_a_score_says_how_many_groups_are_behind_it_and_each_class_has_its_interval() -> None:
    labels_N = np.repeat([0, 1], 20)
    probabilities_NK = np.eye(2)[np.r_[np.zeros(20, int), np.ones(10, int), np.zeros(10, int)]]
    group_N = np.repeat(np.arange(8), 5)
    scores = score(probabilities_NK, labels_N, ("cat", "dog"), group_N=group_N)
    assert scores["accuracy_groups"] == 8
    hit_N = probabilities_NK.argmax(1) == labels_N
    assert scores["accuracy_ci95"] == list(accuracy_interval(hit_N, group_N))
    assert scores["per_class"]["dog"]["recall_ci95"] == list(accuracy_interval(hit_N[20:], group_N[20:]))  # type: ignore[index]
    assert score(probabilities_NK, labels_N, ("cat", "dog"))["accuracy_groups"] == 40


def test_few_groups_widen_the_bootstrap_as_students_distribution_asks() -> None:
    rng = np.random.default_rng(0)
    group_N = np.repeat(np.arange(6), 50)
    a_N, b_N = rng.random(300) < np.repeat(rng.random(6), 50), rng.random(300) < 0.5
    lead_G = np.array([(a_N[group_N == g].astype(float) - b_N[group_N == g]).mean() for g in range(6)])
    _, low, high = paired_bootstrap(a_N, b_N, group_N)
    assert (high - low) / 2 > 1.1 * Z95 * lead_G.std() / np.sqrt(6)


def test_softmax_is_scipys_even_for_logits_that_would_overflow() -> None:
    logits_NK = np.array([[1e4, 1e4 + 1, 0.0], [-1e4, -1e4, -1e4], [0.5, -0.5, 2.0]], np.float32)
    assert softmax(logits_NK) == pytest.approx(scipy_softmax(logits_NK.astype(np.float64), axis=1), abs=1e-12)


def test_log_loss_is_that_of_scikit_learn() -> None:
    probabilities_NK, labels_N = answers()
    assert log_loss(probabilities_NK, labels_N) == pytest.approx(
        reference.log_loss(labels_N, probabilities_NK, labels=range(4))
    )


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


@pytest.mark.parametrize("seed", range(3))
def test_confusion_and_balanced_accuracy_are_those_of_scikit_learn(seed: int) -> None:
    probabilities_NK, labels_N = answers(seed=seed)
    predictions_N = probabilities_NK.argmax(axis=1)
    confusion_KK = confusion_matrix(labels_N, predictions_N, 4)
    assert np.array_equal(confusion_KK, reference.confusion_matrix(labels_N, predictions_N, labels=range(4)))
    assert balanced_accuracy(confusion_KK) == pytest.approx(reference.balanced_accuracy_score(labels_N, predictions_N))


def test_rows_of_the_confusion_are_true_classes() -> None:
    assert confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_score_agrees_with_scikit_learn(seed: int) -> None:
    probabilities_NK, labels_N = answers(seed=seed)
    predictions_N = probabilities_NK.argmax(axis=1)
    scores = score(probabilities_NK, labels_N, CLASSES)
    report = reference.classification_report(labels_N, predictions_N, target_names=CLASSES, output_dict=True)
    assert scores["accuracy"] == pytest.approx(report["accuracy"])
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    assert scores["images"] == len(labels_N)
    for name in CLASSES:
        found, expected = scores["per_class"][name], report[name]  # type: ignore[index]
        assert [found["precision"], found["recall"], found["f1"], found["images"]] == pytest.approx(
            [expected["precision"], expected["recall"], expected["f1-score"], expected["support"]]
        )


def test_a_class_that_is_only_predicted_counts_against_macro_f1_as_in_scikit_learn() -> None:
    labels_N = np.array([0, 0, 1, 1])
    probabilities_NK = np.eye(4)[[0, 2, 1, 1]]
    scores = score(probabilities_NK, labels_N, CLASSES)
    assert scores["macro_f1"] == pytest.approx(reference.f1_score(labels_N, [0, 2, 1, 1], average="macro"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of the class without images
        expected = reference.balanced_accuracy_score(labels_N, [0, 2, 1, 1])
    assert scores["balanced_accuracy"] == pytest.approx(expected)


def test_what_has_no_denominator_is_null_and_the_block_is_json() -> None:
    scores = score(np.eye(4)[[0, 0, 1]], np.array([0, 0, 1]), CLASSES)
    absent = scores["per_class"]["wasps"]  # type: ignore[index]
    assert absent == {"precision": None, "recall": None, "recall_ci95": None, "f1": None, "images": 0}
    assert scores["balanced_accuracy"] == scores["macro_f1"] == 1.0
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_a_paired_lead_is_a_difference_of_accuracies_whose_error_only_disagreements_make() -> None:
    both = np.ones(900, bool)
    first, second = np.r_[both, [True] * 70, [False] * 30], np.r_[both, [False] * 70, [True] * 30]
    lead, error = paired_lead(first, second, np.arange(1000))
    assert lead == pytest.approx(first.mean() - second.mean())
    # McNemar: the variance of a difference of paired proportions, with one disagreement added to their number.
    assert error == pytest.approx(np.sqrt(100 + 1 - 40**2 / 1000) / 1000)


def test_relatives_count_once_and_few_disagreements_prove_nothing() -> None:
    first, second = np.tile([True, True, True, False], 25), np.tile([False, True, True, True], 25)
    alone = paired_lead(first, second, np.arange(100))[1]
    copies = paired_lead(np.repeat(first, 4), np.repeat(second, 4), np.repeat(np.arange(100), 4))[1]
    assert copies == pytest.approx(alone, rel=0.02), "four copies of each image say no more"
    lead, error = paired_lead(np.array([True] * 3), np.array([False, False, True]), np.arange(3))
    assert lead < 2 * error


@pytest.mark.parametrize("family_N", [None, np.arange(400)], ids=["images", "families of one"])
def test_the_bootstrap_of_single_images_agrees_with_the_paired_standard_error(
    family_N: npt.NDArray[np.int64] | None,
) -> None:
    rng = np.random.default_rng(0)
    hit_a_N, hit_b_N = rng.random(400) < 0.8, rng.random(400) < 0.7
    gain, low, high = paired_bootstrap(hit_a_N, hit_b_N, family_N)
    lead_N = hit_a_N.astype(float) - hit_b_N
    error = lead_N.std(ddof=1) / np.sqrt(400)
    assert gain == pytest.approx(lead_N.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert paired_bootstrap(hit_a_N, hit_b_N, family_N) == (gain, low, high)


def test_the_bootstrap_interval_is_that_of_drawing_images_again() -> None:
    rng = np.random.default_rng(1)
    a_N, b_N = rng.random(150) < 0.9, rng.random(150) < 0.8
    drawn = [np.mean(a_N[rows]) - np.mean(b_N[rows]) for rows in rng.integers(0, 150, (4000, 150))]
    assert paired_bootstrap(a_N, b_N)[1:] == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.012)


def test_families_that_stand_together_leave_the_bootstrap_wider() -> None:
    rng = np.random.default_rng(0)
    a_F, b_F = rng.random(40) < 0.8, rng.random(40) < 0.7
    family_N = np.repeat(np.arange(40), 10)
    _, low, high = paired_bootstrap(a_F[family_N], b_F[family_N], family_N)
    _, narrow_low, narrow_high = paired_bootstrap(a_F[family_N], b_F[family_N])
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx(np.sqrt(10), rel=0.15)


def test_a_single_family_of_relatives_says_nothing() -> None:
    hit_N = np.ones(10, bool)
    assert paired_bootstrap(hit_N, ~hit_N, np.zeros(10, int)) == (1, -1, 1)
    assert paired_bootstrap(hit_N, hit_N, np.zeros(10, int)) == (0, 0, 0)


def test_the_bootstrap_draws_as_often_however_many_families_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hit_a_N, hit_b_N = rng.random(400) < 0.8, rng.random(400) < 0.7
    whole = paired_bootstrap(hit_a_N, hit_b_N, np.arange(400))
    monkeypatch.setattr("finetune_advisor.metrics._BLOCK", 400 * 7)
    assert paired_bootstrap(hit_a_N, hit_b_N, np.arange(400)) == whole


def test_two_that_never_disagree_gain_nothing_for_sure() -> None:
    hit_N = np.array([True, False] * 5)
    assert paired_bootstrap(hit_N, hit_N) == paired_bootstrap(hit_N, hit_N, np.arange(10)) == (0, 0, 0)
