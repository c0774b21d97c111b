"""Which other views of the images leave the labels true, and what they do to a linear classifier.

Whether a mirror image still belongs to its class depends on what the class is about, and no single depth of a network
sees that. What a classifier sees at the top has forgotten left and right: digits would pass for mirror symmetric. In
the middle, strokes and edges still have a direction, but an upside-down animal is a heap of the same parts. So flips
and turns are judged in both places, and the place that objects more is reported. Color is judged at the top alone:
lower stages read it wherever it is there, also where shape says the same.

Flips, the turn and gray are shown to the ruler, whose depths are known; padding and size to the network that is to be
trained. Of the turns only that by 90 degrees is shown: those by 180 and 270 follow from it, and other angles are not
advised.

Shapes: N images, B blocks of rows (the usual images, then each view of them), M = B * N rows, T training sets, F
folds, P = T * F problems, D features, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from finetune_advisor.analysis.probes import stratified
from finetune_advisor.analysis.request import Progress
from finetune_advisor.backbones.build import build
from finetune_advisor.backbones.wrappers.stage_probe import POOLED
from finetune_advisor.dataset import TRAINABLE, Dataset
from finetune_advisor.errors import BackboneError
from finetune_advisor.features.extract import Change, Features, Instrument, measure
from finetune_advisor.metrics import family_error
from finetune_advisor.probes import logistic
from finetune_advisor.processes import default_workers
from finetune_advisor.records.health import GRAY_MODES, SMALL_PX, Health
from finetune_advisor.records.profile import View, ViewEffect
from finetune_advisor.techniques.strategy import LinearProbe

log = logging.getLogger(__name__)

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


MOST_IMAGES = 200
"""Images that are shown again, about: four views of them are 800 passes through the network, about half of the time
that 1,000 images take to be decoded and seen; of larger data no more. A fall of 5 points is then two standard errors
or more."""

DIRECTIONS: tuple[Change, ...] = ("horizontal_flip", "vertical_flip", "rotation_90")
"""Views that show whether a direction means something to the classes."""

FEWEST_FAMILIES = 30
"""With fewer images that are no relatives of each other a difference says nothing."""

FEWEST_PER_CLASS = 8
"""Images of a class in the sample, from which so many classes are drawn as fit into it."""

IndexArray = npt.NDArray[np.intp]


def views(
    data: Dataset,
    instruments: tuple[Instrument, ...],
    health: Health,
    *,
    seed: int,
    device: str,
    use_cache: bool,
    progress: Progress | None = None,
) -> tuple[ViewEffect, ...]:
    """What each view does to linear classifiers; nothing where there are too few images to tell.

    Args:
        data: its images as they are, seen by the same instruments.
        instruments: the ruler first, the network to be fine-tuned last.
        health: says which views are worth a look.
        seed: of the folds.
        device: where the networks run.
        use_cache: False shows every image again.
        progress: called with (images done, images to do).
    """
    index_N = view_sample(data)
    if len(np.unique(data.family_N[index_N])) < FEWEST_FAMILIES:
        log.info("other views are not tried: the sample has fewer than %d unrelated images", FEWEST_FAMILIES)
        return ()
    shown = {**_changed(instruments[0], health), **_reshaped(instruments[-1], health)}
    seen = measure(
        [sample.path for sample in data.samples(index_N)],
        tuple(shown.values()),
        device=device,
        workers=default_workers(),
        value_range=instruments[0].preprocess.value_range,
        use_cache=use_cache,
        together=False,
        progress=progress,
    )
    index_N = index_N[list(seen.readable)]
    features = dict(zip(shown, seen.features, strict=True))
    directions: dict[View, Features] = {view: features[view] for view in DIRECTIONS}
    top: dict[View, Features] = {view: features[view] for view in shown if view == "gray"}
    reshaped = {view: features[view] for view in shown if view not in directions and view not in top}
    sample = _Sample(data, index_N, seed, device)
    ruler, trained = data.features[0].rows(index_N), data.features[-1].rows(index_N)
    found = (
        *map(_objection, *(sample.effects(ruler, directions, place) for place in (middle(ruler), (POOLED,)))),
        *sample.effects(ruler, top, (POOLED,)),
        *sample.effects(trained, reshaped, (POOLED,)),
    )
    return tuple(found)


def view_sample(data: Dataset) -> IndexArray:
    """Places of the images to be shown again: each class its share, and of very many classes some."""
    index_T = data.index(*TRAINABLE)
    labels_T = data.labels(index_T)
    drawn_K = np.random.default_rng(0).permutation(np.unique(labels_T))[: MOST_IMAGES // FEWEST_PER_CLASS]
    index_T = index_T[np.isin(labels_T, drawn_K)]
    return index_T[stratified(data.labels(index_T), MOST_IMAGES)]


def middle(features: Features) -> tuple[str, ...]:
    """The two stages between half and two thirds of the depth, where direction is still seen."""
    count = len(features.stages)
    return tuple(dict.fromkeys((features.stages[count // 2], features.stages[count * 2 // 3])))


def _changed(ruler: Instrument, health: Health) -> dict[View, Instrument]:
    changes = list(DIRECTIONS)
    if not set(health.color_modes) <= GRAY_MODES:
        changes.append("gray")
    return {change: replace(ruler, change=change) for change in changes}


def _reshaped(trained: Instrument, health: Health) -> dict[View, Instrument]:
    usual, sizes = trained.preprocess, health.sizes
    assert sizes is not None, "the images were not looked at"
    found: dict[View, Instrument] = {}
    if sizes.many_off_square:
        found["pad"] = replace(trained, preprocess=replace(usual, fit="pad"))
    if usual.size > SMALL_PX and sizes.small and _takes(trained, SMALL_PX):
        found["small"] = replace(trained, preprocess=replace(usual, size=SMALL_PX))
    return found


def _takes(trained: Instrument, size: int) -> bool:
    try:
        build(trained.backbone, trained.weights, seed=trained.seed, size=size)
    except BackboneError as problem:
        log.info("%d pixels are not tried: %s", size, problem.message)
        return False
    return True


def _objection(one: ViewEffect, other: ViewEffect) -> ViewEffect:
    """The place where the same classifiers lose more by the view."""
    return min(one, other, key=lambda effect: effect.transferred - effect.accuracy)


class _Sample:
    """The images of the sample with their folds, the same for all views."""

    def __init__(self, data: Dataset, index_N: IndexArray, seed: int, device: str) -> None:
        present_K, self.labels_N = np.unique(data.labels(index_N), return_inverse=True)
        self.classes = len(present_K)
        self.family_N = data.family_N[index_N]
        self.fold_N = data.folds(index_N, folds=LinearProbe().folds, seed=seed)
        self.device = device

    def effects(
        self, usual: Features, views: Mapping[View, Features], places: tuple[str, ...]
    ) -> tuple[ViewEffect, ...]:
        """What the views do to classifiers that read these places."""
        if not views:
            return ()
        return view_effects(
            usual.concatenated(places),
            {view: features.concatenated(places) for view, features in views.items()},
            self.labels_N,
            self.fold_N,
            family_N=self.family_N,
            classes=self.classes,
            device=self.device,
        )
