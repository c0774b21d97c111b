"""What another view does to linear classifiers, on features whose truth is known.

Shapes: N images, D features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from finetune_advisor.analysis.view_effects import paired_error, view_effects
from finetune_advisor.records.profile import View, ViewEffect

IMAGES, FOLDS = 120, 5
LABELS: npt.NDArray[np.int64] = np.arange(IMAGES) % 2
FOLD: npt.NDArray[np.int64] = np.arange(IMAGES) // 2 % FOLDS
RNG = np.random.default_rng(0)
USUAL = (np.where(LABELS, 2.0, -2.0)[:, None] + RNG.normal(size=(IMAGES, 6))).astype(np.float32)


def effect(view: View, seen_ND: npt.NDArray[np.float32]) -> ViewEffect:
    (found,) = view_effects(USUAL, {view: seen_ND}, LABELS, FOLD, family_N=np.arange(IMAGES), classes=2, device="cpu")
    return found


def test_the_same_features_change_nothing() -> None:
    found = effect("horizontal_flip", USUAL)
    assert found.images == IMAGES and found.accuracy > 0.95
    assert found.transferred == found.refitted == found.accuracy
    assert found.std == found.transferred_std == 0


def test_features_that_turn_into_the_other_class_fool_the_classifier_and_spoil_one_fitted_on_both() -> None:
    found = effect("horizontal_flip", -USUAL)
    assert found.transferred < 0.05
    assert found.refitted < 0.75


def test_a_view_in_place_of_the_usual_one_is_judged_by_itself() -> None:
    found = effect("pad", -USUAL)
    assert found.transferred < 0.05 and found.refitted > 0.95
    nothing = effect("small", RNG.normal(size=USUAL.shape).astype(np.float32))
    assert nothing.refitted < 0.75


def test_every_view_is_compared_with_the_same_accuracy() -> None:
    views: dict[View, npt.NDArray[np.float32]] = {"horizontal_flip": USUAL, "vertical_flip": -USUAL, "gray": 0 * USUAL}
    found = view_effects(USUAL, views, LABELS, FOLD, family_N=np.arange(IMAGES), classes=2, device="cpu")
    assert [each.view for each in found] == list(views)
    assert len({each.accuracy for each in found}) == 1


def test_a_classifier_that_names_the_largest_class_alone_does_not_beat_it() -> None:
    """Its accuracy is the same in every view, whatever the view does: nothing was measured."""
    labels_N = (np.arange(IMAGES) % 10 == 0).astype(np.int64)
    noise_ND = RNG.normal(size=USUAL.shape).astype(np.float32)
    (blind,) = view_effects(
        noise_ND, {"vertical_flip": -noise_ND}, labels_N, FOLD, family_N=np.arange(IMAGES), classes=2, device="cpu"
    )
    assert blind.majority == pytest.approx(0.9)
    assert not blind.beats_majority
    assert effect("vertical_flip", USUAL).majority == pytest.approx(0.5)
    assert effect("vertical_flip", USUAL).beats_majority


def test_a_paired_error_is_that_of_the_mean_change_over_families() -> None:
    before_N, after_N = np.array([1, 1, 1, 0, 1, 1], bool), np.array([1, 0, 0, 1, 1, 1], bool)
    change_N = after_N.astype(float) - before_N
    assert paired_error(before_N, after_N, np.arange(6)) == pytest.approx(change_N.std(ddof=1) / np.sqrt(6))
    pairs_3 = change_N.reshape(3, 2).mean(axis=1)
    assert paired_error(before_N, after_N, np.array([7, 7, 2, 2, 5, 5])) == pytest.approx(
        pairs_3.std(ddof=1) / np.sqrt(3)
    )
