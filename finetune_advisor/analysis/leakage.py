"""Whether folds promise too much: relatives on both sides, those that were found and signs of others.

Shapes: N images, Q of them that are asked for, D features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.analysis.outliers import nearest
from finetune_advisor.images.split import stratified_folds
from finetune_advisor.probes import logistic
from finetune_advisor.records.health import FoldLeak

WORTH_COMPARING = 0.02
"""Share of images in families from which accuracy with and without them is compared; fewer cannot move it by more."""

CLOSE = 0.7
"""The nearest neighbor is oddly close when its distance is below this share of that of the fifth."""

OTHERS = 5

SUSPICIOUS = 0.25
"""Share of images with an oddly close neighbor from which relatives must be suspected.

Measured in the middle of EfficientNet-Lite0: .76 of the magnetic tiles that were photographed several times, .10 when
the groups that `near_duplicates` finds are left out; .26 of food photographs of which many are present twice, .01
without the copies; textures .09 without its copies, and photographs, digits and CIFAR-10 below .02.
"""

SAMPLE = 2000
"""Images whose neighbors are looked up, which bounds the time; the error of a share is then about one in a hundred."""

FEWEST = 30
"""With fewer images a share says nothing."""

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.floating]


def fold_leak(
    features_ND: FloatArray,
    labels_N: IntArray,
    family_N: IntArray,
    *,
    middle_ND: FloatArray,
    accuracy_together: float,
    strengths: tuple[float, ...],
    classes: int,
    folds: int,
    seed: int,
    device: str,
) -> FoldLeak:
    """Compare folds that ignore the families with folds that keep them together, and look for unnoticed relatives.

    Args:
        features_ND: raw features of the place that the best probe reads.
        labels_N: class indices.
        family_N: images with the same number are kept on one side.
        middle_ND: raw features from the middle of the network, where likeness is about the picture more than the class.
        accuracy_together: accuracy of the best probe on folds that keep families together.
        strengths: L2 strengths that it was chosen from; leaking folds choose another one.
        classes: K.
        folds: how many.
        seed: of the folds and the sample.
        device: where the probes are fitted.
    """
    _, size_F = np.unique(family_N, return_counts=True)
    in_families = int(size_F[size_F > 1].sum())
    compared = in_families > WORTH_COMPARING * len(labels_N)
    alone: float | None = None
    if compared:
        fold_N = stratified_folds(np.asarray(labels_N, dtype=np.int64), folds, seed=seed)
        result = logistic.cross_validate(
            features_ND, labels_N, fold_N, strengths=strengths, classes=classes, device=device
        )
        alone = float(result.accuracies()[result.best()])
    share = oddly_close(middle_ND, family_N, seed=seed)
    return FoldLeak(
        families=int((size_F > 1).sum()),
        images_in_families=in_families,
        accuracy_alone=alone,
        accuracy_together=accuracy_together if compared else None,
        suspicious=share >= SUSPICIOUS,
        sign=_sentence(share) if share >= SUSPICIOUS else None,
    )


def oddly_close(middle_ND: FloatArray, family_N: IntArray, *, seed: int) -> float:
    """Share of images that are far closer to one image outside their family than to the next ones.

    In data without relatives the first neighbor is hardly closer than the fifth, the more so the more features
    vary independently. Relatives break that.
    """
    count = len(middle_ND)
    if count < FEWEST:
        return 0.0
    query_Q = np.arange(count)
    if count > SAMPLE:
        query_Q = np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False))
    distance_Qn = nearest(middle_ND, OTHERS, family_N=family_N, query_Q=query_Q)
    known_Q = np.isfinite(distance_Qn[:, -1])
    return float(np.mean(distance_Qn[known_Q, 0] < CLOSE * distance_Qn[known_Q, -1])) if known_Q.any() else 0.0


def _sentence(share: float) -> str:
    return (
        f"{share:.0%} of the images are far closer to one other image than to the next ones; below 10 % is usual. "
        "The same object or scene may be there several times, and accuracy on folds be too good: "
        "a group column would keep such images together."
    )
