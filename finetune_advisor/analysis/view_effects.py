"""What another view of the images does to a linear classifier: as it stands, and fitted on the view.

Shapes: N images, B blocks of rows (the usual images, then each view of them), M = B * N rows, T training sets,
F folds, P = T * F problems, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from finetune_advisor import logistic
from finetune_advisor.artifacts.profile import View, ViewEffect
from finetune_advisor.metrics import family_error

INSTEAD: frozenset[View] = frozenset({"pad", "small"})
"""Views that take the place of the usual one; the others are shown beside it, as augmentation does."""

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Of L2 regularization, to choose from: a quarter of the usual grid is enough for differences."""

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]


def view_effects(
    usual_ND: FloatArray,
    views: Mapping[View, FloatArray],
    labels_N: IntArray,
    fold_N: IntArray,
    *,
    family_N: IntArray,
    classes: int,
    device: str,
) -> tuple[ViewEffect, ...]:
    """Judge views out of fold, on the same folds and with the strength that is best for the images as they are.

    Args:
        usual_ND: raw features of the images as they are.
        views: the same features of the same images seen in another way, (N, D) each.
        labels_N, fold_N: class and fold of each image.
        family_N: images with the same number are relatives, which the standard errors respect.
        classes: K.
        device: where the products run.
    """
    searched = logistic.cross_validate(usual_ND, labels_N, fold_N, strengths=STRENGTHS, classes=classes, device=device)
    names = tuple(views)
    hit_TBN = _hits(
        np.concatenate([usual_ND, *views.values()]),
        labels_N,
        fold_N,
        trained_on_TB=_trained_on(names),
        strength=searched.strengths[searched.best()],
        classes=classes,
        device=device,
    )
    largest_N = labels_N == np.bincount(labels_N).argmax()
    return tuple(
        _effect(
            view,
            usual_N=hit_TBN[0, 0],
            transferred_N=hit_TBN[0, block],
            refitted_N=hit_TBN[block, block if view in INSTEAD else 0],
            largest_N=largest_N,
            family_N=family_N,
        )
        for block, view in enumerate(names, start=1)
    )


def _trained_on(views: Sequence[View]) -> BoolArray:
    """Which blocks of rows, the usual images or a view of them, each classifier learns from (T, B)."""
    trained_on_TB = np.eye(1 + len(views), dtype=bool)
    trained_on_TB[1:, 0] = [view not in INSTEAD for view in views]
    return trained_on_TB


def _hits(
    x_MD: FloatArray,
    labels_N: IntArray,
    fold_N: IntArray,
    *,
    trained_on_TB: BoolArray,
    strength: float,
    classes: int,
    device: str,
) -> BoolArray:
    """Whether classifiers that never saw an image in any view are right about it in each view (T, B, N)."""
    _, fold_N = np.unique(fold_N, return_inverse=True)
    folds, images = int(fold_N.max()) + 1, len(labels_N)
    rest_FN = np.arange(folds)[:, None] != fold_N
    weight_PM = np.einsum("tb,fn->tfbn", trained_on_TB, rest_FN).reshape(-1, len(x_MD)).astype(float)
    logits_PMK = logistic.fit_many(
        x_MD,
        np.tile(labels_N, trained_on_TB.shape[1]),
        weight_PM,
        np.full(len(weight_PM), strength),
        classes=classes,
        together=folds,
        device=device,
    )
    hit_TFBN = logits_PMK.argmax(axis=2).reshape(-1, folds, trained_on_TB.shape[1], images) == labels_N
    return np.moveaxis(hit_TFBN[:, fold_N, :, np.arange(images)], 0, -1)


def _effect(
    view: View,
    *,
    usual_N: BoolArray,
    transferred_N: BoolArray,
    refitted_N: BoolArray,
    largest_N: BoolArray,
    family_N: IntArray,
) -> ViewEffect:
    return ViewEffect(
        view=view,
        images=len(usual_N),
        accuracy=float(usual_N.mean()),
        transferred=float(transferred_N.mean()),
        refitted=float(refitted_N.mean()),
        std=paired_error(usual_N, refitted_N, family_N),
        transferred_std=paired_error(usual_N, transferred_N, family_N),
        majority=float(largest_N.mean()),
        majority_std=paired_error(largest_N, usual_N, family_N),
    )


def paired_error(before_N: BoolArray, after_N: BoolArray, family_N: IntArray) -> float:
    """Standard error of the change of accuracy between two answers to the same images."""
    return family_error(after_N.astype(float) - before_N, family_N)
