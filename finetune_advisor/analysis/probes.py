"""Linear classifiers at every stage of the backbone, judged on images they did not see.

Shapes: N images, D features, K classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor.features.extract import Features
from finetune_advisor.metrics import softmax
from finetune_advisor.probes import logistic
from finetune_advisor.records.profile import ProbeScore
from finetune_advisor.techniques.strategy import LinearProbe

ALL = "all"
"""All places concatenated."""

MOST_IMAGES = 10_000
"""More images are sampled: the standard error of an accuracy is then below half a point, and the time is bounded."""

MOST_NUMBERS = 250_000
"""Images times classes from which fewer images are taken, down to `LEAST_PER_CLASS` of each class."""

LEAST_PER_CLASS = 4

MOST_WORK = 2**30
"""Images times classes times axes: with very many classes the strongest principal axes of a place must do."""

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Probed:
    """What the linear classifiers said of images that they did not see."""

    scores: tuple[ProbeScore, ...]
    """In the order of the stages, then `pooled`, then `all`."""
    index_N: IntArray
    """Places of the images that were used among those given: all of them, or a stratified sample."""
    probabilities_NK: Mapping[str, FloatArray]
    """Out of fold, at each place, for the images of `index_N`."""

    @property
    def best(self) -> ProbeScore:
        """The place with the least log loss, which is steadier than accuracy on few images."""
        return min(self.scores, key=lambda score: score.log_loss)


def probe(
    features: Features,
    labels_N: IntArray,
    fold_N: IntArray,
    *,
    family_N: IntArray,
    classes: int,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> Probed:
    """Cross-validate each stage, what the classifier sees, and all stages together.

    The strengths tried are those of the `linear_probe` technique, so that a run repeats what is measured here.

    Args:
        features: of the N images.
        labels_N, fold_N: class and fold of each image.
        family_N: images with the same number are relatives, which the standard errors respect.
        classes: K.
        device: where the products run.
        progress: called with (places done, places to do).
    """
    index_N = stratified(labels_N, images_to_use(len(labels_N), classes))
    if len(index_N) < len(labels_N):
        log.info("linear classifiers are fitted on a stratified sample of %d of %d images", len(index_N), len(labels_N))
    sample = features.rows(index_N)
    places = (*features.places, ALL)
    scores: list[ProbeScore] = []
    probabilities: dict[str, FloatArray] = {}
    for done, place in enumerate(places):
        if progress is not None:
            progress(done, len(places))
        result = logistic.cross_validate(
            sample.stage(place),
            labels_N[index_N],
            fold_N[index_N],
            strengths=LinearProbe().strengths,
            classes=classes,
            most_axes=MOST_WORK // (len(index_N) * classes),
            device=device,
        )
        best = result.best()
        scores.append(_score(place, result, best, family_N[index_N]))
        probabilities[place] = softmax(result.logits_SNK[best])
    return Probed(tuple(scores), index_N, probabilities)


def images_to_use(images: int, classes: int) -> int:
    """How many of the images linear classifiers are fitted on."""
    return min(images, MOST_IMAGES, max(MOST_NUMBERS // classes, LEAST_PER_CLASS * classes))


def stratified(labels_N: IntArray, most: int) -> IntArray:
    """Places of at most about `most` images, in order: of each class its share, but at least `LEAST_PER_CLASS`.

    The draw has a seed of its own, so that the same images are taken whatever is asked of them.
    """
    if len(labels_N) <= most:
        return np.arange(len(labels_N))
    order_N = np.random.default_rng(0).permutation(len(labels_N))
    taken: list[IntArray] = []
    for label in np.unique(labels_N):
        places_M = order_N[labels_N[order_N] == label]
        taken.append(places_M[: max(LEAST_PER_CLASS, int(len(places_M) * most / len(labels_N)))])
    return np.sort(np.concatenate(taken))


def _score(place: str, result: logistic.CrossValidation, best: int, family_N: IntArray) -> ProbeScore:
    return ProbeScore(
        stage=place,
        accuracy=float(result.accuracies()[best]),
        std=result.standard_error(best, family_N),
        log_loss=float(result.losses()[best]),
        strength=result.strengths[best],
        least_loss_strength=result.strengths[int(result.losses().argmin())],
    )
