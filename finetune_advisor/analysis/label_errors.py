"""Images whose label is contradicted by classifiers that did not see them: confident learning.

Confident learning takes every confident contradiction for a wrong label. That holds where the classifiers know the
classes: where they do not, they say the largest class of everything, and all images of the rare ones are contradicted.
So only classes that the classifiers demonstrably know take part.

Shapes: N images, K classes.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021
(arXiv:1911.00068): confident joint, pruning by noise rate, ranking by normalized margin. The correction for class
sizes: Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities", Neural
Computation 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor.metrics import wilson_interval

FEWEST = 10
"""Images of a class below which nothing is said about its labels: at 5 folds the classifiers learned it from 8."""

RECOGNIZED = 0.5
"""Share of a class that has to be recognized: where most of its images are missed, another miss says nothing."""

OUTWEIGHS = 3.0
"""How many times as probable as the given label another has to be. The label is evidence too: where one in four is
wrong it holds three to one, and few sets are worse than that. Set by hand on photographs with flipped labels: at 4
fewer of them are found, at 2 more right labels are doubted."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]


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
    """The images that confident learning would prune and whose label may well be wrong, most suspicious first.

    Of the images labeled i, as many as the confident joint says are truly j are pruned: those with the largest margin
    between the probabilities of j and i ("prune by noise rate"). It names the class to suggest and, unlike pruning by
    class, is not deceived by a class that is merely hard. Of these an image is a suspect only where all of this holds:

    - The classifiers give another label at least three times the probability of its own, and they do not give it its
      own either when the sizes of the classes are divided out.
    - They recognize its class (sizes divided out): at least half of its images, and more than by chance.
    - Their word for the suggested class counts: of the images they call so, more are labeled so than of all images.
    - Both classes have at least ten images.

    "More" means beyond the 95 % interval. By the second condition at most half of a class can be suspects.

    Args:
        probabilities_NK: of each class, from classifiers that did not see the image.
        labels_N: the given labels.
    """
    probability_NK = np.asarray(probabilities_NK, dtype=np.float64)
    label_N = np.asarray(labels_N, dtype=np.intp)
    joint_KK = confident_joint(probability_NK, label_N)
    count_K = np.bincount(label_N, minlength=len(joint_KK))
    noise_KK = np.rint(_calibrated(joint_KK, count_K)).astype(int)
    own_N = probability_NK[np.arange(len(label_N)), label_N]
    guess_N = probability_NK.argmax(axis=1)
    even_guess_N = (probability_NK / np.maximum(count_K, 1)).argmax(axis=1)
    doubted_N = (probability_NK.max(axis=1) >= OUTWEIGHS * own_N) & (even_guess_N != label_N)
    doubted_N &= _recognized(even_guess_N, label_N, count_K)[label_N] & _believed(guess_N, label_N, count_K)[guess_N]
    pruned: set[int] = set()
    for label, other in zip(*np.nonzero(noise_KK), strict=True):
        if label != other:
            places_M = np.flatnonzero(label_N == label)
            margin_M = probability_NK[places_M, other] - own_N[places_M]
            pruned.update(places_M[np.argsort(-margin_M, kind="stable")[: noise_KK[label, other]]].tolist())
    suspects = [
        Suspect(place, int(guess_N[place]), float(own_N[place]), float(probability_NK[place, guess_N[place]]))
        for place in sorted(pruned)
        if doubted_N[place]
    ]
    return tuple(sorted(suspects, key=lambda suspect: suspect.margin))


def _recognized(guess_N: IntArray, label_N: IntArray, count_K: IntArray) -> BoolArray:
    """Classes of which most images are recognized, and a larger share than is called so of all images (K,)."""
    hits_K = np.bincount(label_N[guess_N == label_N], minlength=len(count_K))
    called_K = np.bincount(guess_N, minlength=len(count_K)) / len(label_N)
    return (count_K >= FEWEST) & (hits_K >= RECOGNIZED * count_K) & (_lowest(hits_K, count_K) > called_K)


def _believed(guess_N: IntArray, label_N: IntArray, count_K: IntArray) -> BoolArray:
    """Classes whose label is more frequent among the images that are called so than among all images (K,)."""
    hits_K = np.bincount(label_N[guess_N == label_N], minlength=len(count_K))
    called_K = np.bincount(guess_N, minlength=len(count_K))
    return (count_K >= FEWEST) & (_lowest(hits_K, called_K) > count_K / len(label_N))


def _lowest(hits_K: IntArray, total_K: IntArray) -> FloatArray:
    """Lower end of the 95 % interval of each share (K,)."""
    pairs = zip(hits_K.tolist(), total_K.tolist(), strict=True)
    return np.array([wilson_interval(hits, total)[0] for hits, total in pairs])


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
