"""The batched solver finds what scikit-learn finds, for every strength and every fold.

Shapes: N images, D features, K classes, S strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from finetune_advisor.probes.logistic import CrossValidation, Standardizer, cross_validate, fit, fit_many

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

STRENGTHS = (1e-4, 1e-3, 1e-2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other would take far longer than such small products."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def blobs(*, images: int, features: int, classes: int, seed: int = 0) -> tuple[Floats, Ints]:
    """Overlapping clouds with correlated features of very different scale and offset."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(images) % classes
    rng.shuffle(labels_N)
    centers_KD = rng.normal(size=(classes, features))
    x_ND = centers_KD[labels_N] + 2.0 * rng.normal(size=(images, features))
    x_ND = x_ND @ (np.eye(features) + 0.3 * rng.normal(size=(features, features)) / np.sqrt(features))
    return x_ND * 10.0 ** rng.uniform(-2, 2, features) + rng.normal(size=features), labels_N


def sklearn_logits(
    x_ND: Floats, labels_N: Ints, *, inverse: float, at: Floats, weight_N: Floats | None = None
) -> Floats:
    """scikit-learn's decision function, fitted on features that are standardized already."""
    model = LogisticRegression(C=inverse, tol=1e-8, max_iter=20_000)
    return np.asarray(model.fit(x_ND, labels_N, sample_weight=weight_N).decision_function(at))


def centered(logits_NK: Floats) -> Floats:
    """Without the constant of each row, which changes no probability."""
    return np.asarray(logits_NK - logits_NK.mean(axis=1, keepdims=True))


def relative_error(found: Floats, expected: Floats) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize(("images", "features"), [(120, 20), (40, 150)], ids=["tall", "wide"])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_fit_is_scikit_learns_for_several_classes(images: int, features: int, strength: float) -> None:
    x_ND, labels_N = blobs(images=images, features=features, classes=4)
    z_ND = Standardizer.pareto(x_ND).apply(x_ND)
    expected_NK = sklearn_logits(z_ND, labels_N, inverse=1 / (images * strength), at=z_ND)
    found_NK = fit(x_ND, labels_N, strength=strength, classes=4).logits(x_ND)
    assert relative_error(centered(found_NK), centered(expected_NK)) < 1e-2


@pytest.mark.parametrize("strength", STRENGTHS)
def test_fit_is_scikit_learns_for_two_classes(strength: float) -> None:
    """Two rows of weights w/2 and -w/2 have half the squared norm of w, so half the penalty: C doubles."""
    x_ND, labels_N = blobs(images=80, features=12, classes=2)
    z_ND = Standardizer.pareto(x_ND).apply(x_ND)
    expected_N = sklearn_logits(z_ND, labels_N, inverse=2 / (80 * strength), at=z_ND)
    logits_NK = fit(x_ND, labels_N, strength=strength, classes=2).logits(x_ND)
    found_N = logits_NK[:, 1] - logits_NK[:, 0]
    assert relative_error(found_N, expected_N) < 1e-2
    assert np.array_equal(found_N > 0, expected_N > 0)


def test_image_weights_are_scikit_learns_sample_weights() -> None:
    x_ND, labels_N = blobs(images=90, features=10, classes=3)
    weight_N = np.array([3.0, 1.0, 0.2])[labels_N]
    weight_N /= weight_N.mean()
    z_ND = Standardizer.pareto(x_ND).apply(x_ND)
    expected_NK = sklearn_logits(z_ND, labels_N, inverse=1 / (90 * 1e-3), at=z_ND, weight_N=weight_N)
    found_NK = fit(x_ND, labels_N, strength=1e-3, classes=3, weight_N=weight_N).logits(x_ND)
    assert relative_error(centered(found_NK), centered(expected_NK)) < 1e-2


def test_the_size_of_image_weights_does_not_matter_only_their_ratio() -> None:
    x_ND, labels_N = blobs(images=40, features=6, classes=2)
    weight_N = np.where(labels_N == 0, 4.0, 1.0)
    once = fit(x_ND, labels_N, strength=1e-3, classes=2, weight_N=weight_N).logits(x_ND)
    scaled = fit(x_ND, labels_N, strength=1e-3, classes=2, weight_N=10 * weight_N).logits(x_ND)
    assert relative_error(scaled, once) < 1e-4


@pytest.mark.parametrize(("images", "features"), [(60, 12), (30, 80)], ids=["tall", "wide"])
def test_every_fold_is_predicted_by_a_fit_on_the_others(images: int, features: int) -> None:
    """The reference is fitted fold by fold, on features scaled over all images as documented."""
    x_ND, labels_N = blobs(images=images, features=features, classes=3)
    fold_N = np.arange(images) % 5
    result = cross_validate(x_ND, labels_N, fold_N, strengths=STRENGTHS, classes=3)
    z_ND = Standardizer.pareto(x_ND).apply(x_ND)
    for s, strength in enumerate(STRENGTHS):
        for fold in range(5):
            rest, held_out = fold_N != fold, fold_N == fold
            inverse = 1 / (rest.sum() * strength)
            expected_NK = sklearn_logits(z_ND[rest], labels_N[rest], inverse=inverse, at=z_ND[held_out])
            assert relative_error(centered(result.logits_SNK[s, held_out]), centered(expected_NK)) < 2e-2


def test_cross_validation_and_fit_agree() -> None:
    """Standardized features are their own standardization, up to the factor that both apply."""
    x_ND, labels_N = blobs(images=60, features=8, classes=3)
    x_ND = np.concatenate([x_ND, x_ND])  # two equal halves have equal means and deviations
    labels_N = np.concatenate([labels_N, labels_N])
    fold_N = np.repeat([0, 1], 60)
    result = cross_validate(x_ND, labels_N, fold_N, strengths=(1e-3,), classes=3)
    alone_NK = fit(x_ND[:60], labels_N[:60], strength=1e-3, classes=3).logits(x_ND[60:])
    assert relative_error(result.logits_SNK[0, 60:], alone_NK) < 1e-3


def test_an_image_has_no_say_in_its_own_prediction() -> None:
    x_ND, labels_N = blobs(images=30, features=5, classes=3)
    fold_N = np.arange(30) % 3
    changed_N = np.where(fold_N == 0, (labels_N + 1) % 3, labels_N)
    before = cross_validate(x_ND, labels_N, fold_N, strengths=(1e-3,), classes=3)
    after = cross_validate(x_ND, changed_N, fold_N, strengths=(1e-3,), classes=3)
    held_out = fold_N == 0
    assert relative_error(after.logits_SNK[:, held_out], before.logits_SNK[:, held_out]) < 1e-4
    assert relative_error(after.logits_SNK[:, ~held_out], before.logits_SNK[:, ~held_out]) > 0.1


def test_weights_of_images_reach_the_folds() -> None:
    x_ND, labels_N = blobs(images=60, features=5, classes=2)
    fold_N = np.arange(60) % 4
    weight_N = np.where(labels_N == 1, 20.0, 1.0)
    plain = cross_validate(x_ND, labels_N, fold_N, strengths=(1e-2,), classes=2)
    weighted = cross_validate(x_ND, labels_N, fold_N, strengths=(1e-2,), classes=2, weight_N=weight_N)
    count = [int((result.logits_SNK[0].argmax(axis=1) == 1).sum()) for result in (plain, weighted)]
    assert count[1] > count[0]


def test_constant_features_change_nothing() -> None:
    x_ND, labels_N = blobs(images=50, features=6, classes=3)
    padded_ND = np.concatenate([x_ND, np.full((50, 6), 3.7), np.zeros((50, 6))], axis=1)
    plain_NK = fit(x_ND, labels_N, strength=3e-3, classes=3).logits(x_ND)
    classifier = fit(padded_ND, labels_N, strength=3e-3, classes=3)
    assert np.all(classifier.weight_KD[:, 6:] == 0)
    assert relative_error(centered(classifier.logits(padded_ND)), centered(plain_NK)) < 1e-3


def test_features_that_say_nothing_leave_the_frequencies_of_the_classes() -> None:
    labels_N = np.array([0] * 6 + [1] * 3 + [2])
    logits_NK = fit(np.ones((10, 4)), labels_N, strength=1e-3, classes=3).logits(np.ones((1, 4)))
    assert np.exp(logits_NK[0]) / np.exp(logits_NK[0]).sum() == pytest.approx([0.6, 0.3, 0.1], abs=1e-3)


def test_a_class_missing_from_the_training_folds_is_never_predicted() -> None:
    x_ND, labels_N = blobs(images=40, features=6, classes=2)
    labels_N[:3] = 2
    fold_N = np.arange(40) % 4
    fold_N[:3] = 0
    result = cross_validate(x_ND, labels_N, fold_N, strengths=STRENGTHS, classes=3)
    assert np.isfinite(result.losses()).all()
    assert not (result.logits_SNK[:, fold_N == 0].argmax(axis=2) == 2).any()


def test_the_unit_and_offset_of_all_features_do_not_matter() -> None:
    x_ND, labels_N = blobs(images=50, features=6, classes=3)
    plain_NK = fit(x_ND, labels_N, strength=1e-3, classes=3).logits(x_ND)
    other_ND = 1e3 * x_ND + 1
    assert relative_error(fit(other_ND, labels_N, strength=1e-3, classes=3).logits(other_ND), plain_NK) < 1e-3


@pytest.mark.parametrize(("scaled", "power"), [(Standardizer.of, 0), (Standardizer.pareto, 1)])
def test_variances_add_up_to_one_in_proportion_to_a_power_of_the_deviations(
    scaled: Callable[[Floats], Standardizer], power: int
) -> None:
    x_ND, _ = blobs(images=200, features=7, classes=3)
    x_ND[:, 3] = 2.5
    z_ND = scaled(x_ND).apply(x_ND)
    share_D = np.where(x_ND.std(axis=0) > 0, x_ND.std(axis=0) ** power, 0)
    total = 6 / 7 if power == 0 else 1.0  # a constant feature takes its share of equal ones along
    assert z_ND.var(axis=0) == pytest.approx(total * share_D / share_D.sum(), rel=1e-6)
    assert z_ND.mean(axis=0) == pytest.approx(0, abs=1e-9)


def test_what_hardly_varies_is_not_blown_up_to_noise_where_images_are_few() -> None:
    """Two classes differ in the features that vary most, as those of a network do; five images of each are seen."""
    rng = np.random.default_rng(0)
    labels_N = np.arange(410) % 2
    x_ND = rng.normal(size=(410, 300)) * np.concatenate([np.full(30, 1.0), np.full(270, 0.05)])
    x_ND[:, :30] += np.where(labels_N, 0.6, -0.6)[:, None]
    found = fit(x_ND[:10], labels_N[:10], strength=1e-3, classes=2).logits(x_ND[10:]).argmax(axis=1)
    equal_ND = Standardizer.of(x_ND[:10]).apply(x_ND)
    at_equal = LogisticRegression(C=1 / (10 * 1e-3)).fit(equal_ND[:10], labels_N[:10]).predict(equal_ND[10:])
    right, right_at_equal = (found == labels_N[10:]).mean(), (at_equal == labels_N[10:]).mean()
    assert right > right_at_equal + 0.05


def test_single_precision_features_are_enough() -> None:
    x_ND, labels_N = blobs(images=50, features=6, classes=3)
    double_NK = fit(x_ND, labels_N, strength=1e-3, classes=3).logits(x_ND)
    single_ND = x_ND.astype(np.float32)
    assert relative_error(fit(single_ND, labels_N, strength=1e-3, classes=3).logits(single_ND), double_NK) < 1e-3


def test_scores_are_those_of_the_logits() -> None:
    logits_SNK = np.array([[[9.0, 0], [9, 0], [0, 9]], [[2, 0], [0, 2], [2, 0]]])
    result = CrossValidation((1e-3, 1e-2), logits_SNK, np.array([0, 1, 1]), np.array([0, 0, 1]), np.ones(3))
    assert result.losses() == pytest.approx(
        [np.log1p(np.exp(-9)) + 3.0, (2 * np.log1p(np.exp(-2)) + np.log1p(np.exp(2))) / 3]
    )
    assert result.accuracies() == pytest.approx([2 / 3, 2 / 3])
    assert result.fold_accuracies(0) == pytest.approx([0.5, 1.0])


def folds_with_losses(loss_SF: Sequence[Sequence[float]]) -> CrossValidation:
    """Two classes and one image a fold, with the logits that give these losses; strengths 1, 2, 3, ..."""
    loss_SN = np.array(loss_SF)
    logits_SNK = np.stack([np.zeros_like(loss_SN), np.log(np.expm1(loss_SN))], axis=2)
    images = loss_SN.shape[1]
    return CrossValidation(
        tuple(float(s + 1) for s in range(len(loss_SN))),
        logits_SNK,
        np.zeros(images, int),
        np.arange(images),
        np.ones(images),
    )


@pytest.mark.parametrize(
    ("loss_SF", "best"),
    [
        # Least is 0.5 with standard error 0.1 / sqrt(3) = 0.058: up to 0.558 counts as no worse.
        ([[0.9, 0.9, 0.9], [0.4, 0.5, 0.6], [0.55, 0.55, 0.55], [0.57, 0.57, 0.57]], 2),
        ([[0.5, 0.5, 0.5], [0.4, 0.5, 0.6], [0.7, 0.7, 0.7]], 1),
        ([[0.5, 0.5, 0.5], [0.51, 0.51, 0.51]], 0),
    ],
    ids=["within the error", "a tie", "beyond the error"],
)
def test_the_strongest_regularization_within_one_standard_error_of_the_least_loss_is_best(
    loss_SF: Sequence[Sequence[float]], best: int
) -> None:
    result = folds_with_losses(loss_SF)
    assert result.losses() == pytest.approx(np.mean(loss_SF, axis=1))
    assert result.best() == best


def test_that_some_folds_are_harder_for_every_strength_is_no_reason_to_regularize_more() -> None:
    """The losses spread by 1 between folds and by nothing between strengths: 0.05 more is then clearly worse."""
    result = folds_with_losses([[0.5, 1.5, 2.5], [0.55, 1.55, 2.55]])
    assert result.best() == 0


def test_families_are_what_varies_independently() -> None:
    """Ten images at a time are right or wrong, so the error is that of a tenth as many images."""
    rng = np.random.default_rng(0)
    right_F = rng.random(40) < 0.7
    right_N = np.repeat(right_F, 10)
    logits_SNK = np.stack([right_N, ~right_N], axis=1)[None].astype(float)
    fold_N = np.repeat(np.arange(40) % 2, 10)
    result = CrossValidation((1.0,), logits_SNK, np.zeros(400, int), fold_N, np.ones(400))
    folds_alone = result.fold_accuracies(0).std(ddof=1) / np.sqrt(2)
    by_family = result.standard_error(0, np.repeat(np.arange(40), 10))
    assert by_family == pytest.approx(max(right_F.std(ddof=1) / np.sqrt(40), folds_alone))
    assert result.standard_error(0, np.arange(400)) < by_family


def test_many_fits_on_parts_are_the_single_fits() -> None:
    """The reference is fitted one by one on features scaled over all images, as documented."""
    x_ND, labels_N = blobs(images=80, features=30, classes=3)
    z_ND = Standardizer.pareto(x_ND).apply(x_ND)
    rng = np.random.default_rng(0)
    weight_PN = (rng.random((5, 80)) < 0.6).astype(float)
    strength_P = np.array([1e-2, 3e-3, 1e-2, 1e-3, 3e-3])
    found_PNK = fit_many(x_ND, labels_N, weight_PN, strength_P, classes=3, together=2)
    for weight_N, strength, found_NK in zip(weight_PN, strength_P, found_PNK, strict=True):
        used_N = weight_N > 0
        expected_NK = sklearn_logits(z_ND[used_N], labels_N[used_N], inverse=1 / (used_N.sum() * strength), at=z_ND)
        assert relative_error(centered(found_NK), centered(expected_NK)) < 5e-2


def test_few_principal_axes_are_the_strongest_ones() -> None:
    """Two directions vary a thousand times more than the others, whose loss is then not felt."""
    rng = np.random.default_rng(0)
    labels_N = np.arange(90) % 3
    plane_N2 = np.eye(3, 2)[labels_N] + 0.4 * rng.normal(size=(90, 2))
    x_ND = plane_N2 @ rng.normal(size=(2, 40)) + 1e-3 * rng.normal(size=(90, 40))
    fold_N = np.arange(90) // 3 % 5
    some, every = (
        cross_validate(x_ND, labels_N, fold_N, strengths=(1e-3,), classes=3, most_axes=most) for most in (2, None)
    )
    assert relative_error(some.logits_SNK, every.logits_SNK) < 5e-2


def test_the_threads_of_the_caller_are_given_back() -> None:
    x_ND, labels_N = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        fit(x_ND, labels_N, strength=1e-3, classes=2)
        assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
