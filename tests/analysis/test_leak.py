"""Relatives on both sides of a fold are noticed, whether they were found before or not."""

import numpy as np
import numpy.typing as npt
import pytest

from finetune_advisor.analysis.leakage import fold_leak, oddly_close
from finetune_advisor.records.health import FoldLeak

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

IMAGES = 240


def tiles(copies: int, seed: int = 0) -> tuple[Floats, Ints, Ints]:
    """Objects photographed several times; labels belong to the object and cannot be told from other objects."""
    rng = np.random.default_rng(seed)
    family_N = np.arange(IMAGES) // copies
    objects_FD = rng.normal(0, 1, (IMAGES // copies, 40))
    features_ND = objects_FD[family_N] + rng.normal(0, 0.1, (IMAGES, 40))
    return features_ND, rng.integers(0, 2, IMAGES // copies)[family_N], family_N


def leak_of(features_ND: Floats, labels_N: Ints, family_N: Ints) -> FoldLeak:
    return fold_leak(
        features_ND,
        labels_N,
        family_N,
        middle_ND=features_ND,
        accuracy_together=0.5,
        strengths=(1e-4, 1e-2),
        classes=2,
        folds=4,
        seed=0,
        device="cpu",
    )


def test_known_relatives_are_compared_and_leave_no_suspicion() -> None:
    leak = leak_of(*tiles(4))
    assert (leak.families, leak.images_in_families) == (60, IMAGES)
    assert leak.accuracy_alone is not None and leak.accuracy_alone > 0.85
    assert leak.accuracy_together == 0.5
    assert not leak.suspicious and leak.sign is None


def test_unnoticed_relatives_leave_a_sign() -> None:
    features_ND, labels_N, _ = tiles(2)
    leak = leak_of(features_ND, labels_N, np.arange(IMAGES))
    assert (leak.families, leak.images_in_families, leak.accuracy_alone) == (0, 0, None)
    assert leak.suspicious
    assert leak.sign is not None and "100%" in leak.sign


def test_images_without_relatives_are_not_suspected() -> None:
    features_ND, labels_N, family_N = tiles(1)
    leak = leak_of(features_ND, labels_N, family_N)
    assert not leak.suspicious
    assert leak.accuracy_alone is None and leak.accuracy_together is None


def test_a_few_relatives_are_not_worth_a_comparison() -> None:
    features_ND, labels_N, family_N = tiles(1)
    family_N[1] = 0
    leak = leak_of(features_ND, labels_N, family_N)
    assert (leak.families, leak.images_in_families, leak.accuracy_alone) == (1, 2, None)


def test_a_handful_of_images_says_nothing() -> None:
    assert oddly_close(np.zeros((10, 3)), np.arange(10), seed=0) == 0


def test_a_sample_finds_about_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    features_ND, _, _ = tiles(2)
    features_ND[: IMAGES // 2] = np.random.default_rng(1).normal(0, 1, (IMAGES // 2, 40))
    whole = oddly_close(features_ND, np.arange(IMAGES), seed=0)
    monkeypatch.setattr("finetune_advisor.analysis.leakage.SAMPLE", 120)
    assert abs(oddly_close(features_ND, np.arange(IMAGES), seed=0) - whole) < 0.1
    assert 0.4 < whole < 0.6
