"""Images whose label is contradicted by classifiers that did not see them: confident learning.

Shapes: N images, K classes.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021
(arXiv:1911.00068): confident joint, pruning by noise rate, ranking by normalized margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image that is more probably of another class than its label says."""

    place: int
    suggestion: int
    """Class that the classifiers give it."""
    label_probability: float
    suggestion_probability: float

    @property
    def margin(self) -> float:
        """Normalized margin: at -1 the classifiers are sure that the label is wrong."""
        return self.label_probability - self.suggestion_probability


def label_suspects(probabilities_NK: FloatArray, labels_N: IntArray) -> tuple[Suspect, ...]:
    """The images that confident learning would prune, most suspicious first.

    Of the images labeled i, as many as the confident joint says are truly j are pruned: those with the largest margin
    between the probabilities of j and i ("prune by noise rate"). It names the class to suggest and, unlike pruning by
    class, is not deceived by a class that is merely hard. An image that the classifiers give its own label is no
    suspect, whatever the rates say.

    Args:
        probabilities_NK: of each class, from classifiers that did not see the image.
        labels_N: the given labels.
    """
    probability_NK = np.asarray(probabilities_NK, dtype=np.float64)
    label_N = np.asarray(labels_N, dtype=np.intp)
    joint_KK = confident_joint(probability_NK, label_N)
    noise_KK = np.rint(_calibrated(joint_KK, np.bincount(label_N, minlength=len(joint_KK)))).astype(int)
    own_N = probability_NK[np.arange(len(label_N)), label_N]
    guess_N = probability_NK.argmax(axis=1)
    pruned: set[int] = set()
    for label, other in zip(*np.nonzero(noise_KK), strict=True):
        if label != other:
            places_M = np.flatnonzero(label_N == label)
            margin_M = probability_NK[places_M, other] - own_N[places_M]
            pruned.update(places_M[np.argsort(-margin_M, kind="stable")[: noise_KK[label, other]]].tolist())
    suspects = [
        Suspect(place, int(guess_N[place]), float(own_N[place]), float(probability_NK[place, guess_N[place]]))
        for place in sorted(pruned)
        if guess_N[place] != label_N[place]
    ]
    return tuple(sorted(suspects, key=lambda suspect: suspect.margin))


def confident_joint(probabilities_NK: FloatArray, labels_N: IntArray) -> npt.NDArray[np.int64]:
    """Images counted by given label and confident class (K, K).

    An image is confidently of a class where its probability reaches the mean probability of that class among the images
    labeled so; of several such classes the most probable counts, of none no class does.
    """
    classes = probabilities_NK.shape[1]
    # A class that no image is labeled with gets a threshold that no probability reaches.
    threshold_K = np.full(classes, np.inf)
    for label in np.unique(labels_N):
        threshold_K[label] = probabilities_NK[labels_N == label, label].mean()
    reached_NK = np.where(probabilities_NK >= threshold_K, probabilities_NK, -np.inf)
    sure_N = np.isfinite(reached_NK).any(axis=1)
    joint_KK = np.zeros((classes, classes), np.int64)
    np.add.at(joint_KK, (labels_N[sure_N], reached_NK[sure_N].argmax(axis=1)), 1)
    return joint_KK


def _calibrated(joint_KK: npt.NDArray[np.int64], count_K: npt.NDArray[np.int64]) -> FloatArray:
    """The joint with each row scaled to the number of images with that label; an empty row stays empty."""
    sum_K1 = joint_KK.sum(axis=1, keepdims=True)
    return np.asarray(joint_KK / np.maximum(sum_K1, 1) * count_K[:, None])
