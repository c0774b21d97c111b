"""Probabilities and labels to named numbers, each with what is needed to doubt it.

Images that come in groups (copies, near-duplicates, one patient or scene) are right or wrong together, so every
interval here takes groups, not images, for what varies independently.

Shapes: N images, K classes, G (or F) groups of images, D draws of a bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution: half the width of a 95 % interval in standard errors."""

_PRIOR = 4.0
"""How strongly few groups with a minority outcome draw the design effect to that of groups that are right or wrong as a
whole: like the square of so many groups. Chosen by the coverage in `benchmarks/results/group_intervals.md`."""

_BOOTSTRAP_DRAWS = 2000
_BLOCK = 2**22
"""Counts that are drawn at once, 32 MB of them."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


def wilson_interval(correct: float, total: float, *, z: float = Z95) -> tuple[float, float]:
    """95 % interval of a proportion, right for small samples and near 0 and 1.

    Args:
        correct: how many of `total`; both may be fractions, of an effective number of images.
        z: half the width in standard errors.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    assert 0 <= correct <= total, f"{correct} of {total}"
    if total == 0:
        return 0.0, 1.0
    share, z2 = correct / total, z**2
    center = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    # At 0 and at `total` an end is the share itself; rounding must not move it past the share.
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))


def accuracy_interval(hit_N: npt.NDArray[np.bool_], group_N: IntArray | None = None) -> tuple[float, float]:
    """95 % interval of an accuracy whose images come in groups.

    Wilson's interval for the effective number of images, which is their number over the design effect: the variance
    between groups over that of as many independent images. Few groups with a wrong (or right) image say little of the
    design effect; it is then drawn to that of groups that are right or wrong as a whole. The quantile is Student's with
    one degree of freedom less than groups. Where each image is a group of its own, it is Wilson's interval as it is; a
    single group says nothing.

    Args:
        hit_N: whether each image is right.
        group_N: images with the same number are right or wrong together; None: each image stands alone.

    Source: Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 1998; their effective sample size in Wilson's interval: Franco,
    Little, Louis and Slud, "Comparative study of confidence intervals for proportions in complex sample surveys",
    Journal of Survey Statistics and Methodology 2019.
    """
    images = len(hit_N)
    _, group_N, size_G = np.unique(
        _alone(images) if group_N is None else group_N, return_inverse=True, return_counts=True
    )
    groups = len(size_G)
    if groups == images:
        return wilson_interval(int(hit_N.sum()), images)
    if groups == 1:
        return 0.0, 1.0
    share = float(hit_N.mean())
    minority = hit_N if share < 0.5 else ~hit_N
    informative = len(np.unique(group_N[minority])) ** 2
    whole = float((size_G**2).sum()) / images
    effect = whole
    if informative:
        binomial = share * (1 - share) / images
        measured = family_error(hit_N.astype(float), group_N) ** 2 / binomial
        effect = (informative * measured + _PRIOR * whole) / (informative + _PRIOR)
    effective = images / max(1.0, effect)
    return wilson_interval(share * effective, effective, z=_students(groups))


def _alone(images: int) -> IntArray:
    return np.arange(images)


def _students(groups: int) -> float:
    """The 97.5 % point of Student's distribution that so many groups, at least two, leave."""
    from scipy.special import stdtrit  # not above: a page of single images is written without it

    return float(stdtrit(groups - 1, 0.975))


def softmax(logits_NK: FloatArray) -> FloatArray:
    """Rows of logits to rows of probabilities, in double precision."""
    shifted = logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def log_loss(probabilities_NK: FloatArray, labels_N: IntArray) -> float:
    """Mean negative log-likelihood in nats; probabilities are clipped at 1e-12."""
    picked = probabilities_NK[np.arange(len(labels_N)), labels_N]
    return float(-np.log(np.clip(picked, 1e-12, None)).mean())


def confusion_matrix(labels_N: IntArray, predictions_N: IntArray, classes: int) -> IntArray:
    """Counts (K, K): rows are true classes, columns predicted ones."""
    flat = np.bincount(labels_N * classes + predictions_N, minlength=classes * classes)
    return flat.reshape(classes, classes)


def balanced_accuracy(confusion_KK: IntArray) -> float:
    """Mean recall over the classes that occur."""
    totals_K = confusion_KK.sum(axis=1)
    present_K = totals_K > 0
    return float((confusion_KK.diagonal()[present_K] / totals_K[present_K]).mean())


def paired_lead(
    hit_a_N: npt.NDArray[np.bool_], hit_b_N: npt.NDArray[np.bool_], family_N: IntArray
) -> tuple[float, float]:
    """How much more accurate one classifier is than another on the same images, and the standard error of that.

    Images of a family are right or wrong together, so the families are what varies independently. One disagreement
    more than there were is counted into the error, without which a few that all point one way would leave no doubt.

    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 1986.
    """
    assert len(hit_a_N) == len(hit_b_N) == len(family_N) > 0
    lead_N = hit_a_N.astype(float) - hit_b_N.astype(float)
    lead = float(lead_N.mean())
    _, family_N = np.unique(family_N, return_inverse=True)
    excess_F = np.bincount(family_N, lead_N - lead)
    return lead, float(np.sqrt((excess_F**2).sum() + 1)) / len(lead_N)


def paired_bootstrap(
    hit_a_N: npt.NDArray[np.bool_],
    hit_b_N: npt.NDArray[np.bool_],
    family_N: IntArray | None = None,
    *,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How much more accurate one classifier is than another on the same images, with the 95 % bootstrap interval.

    Groups of images are drawn, each with all its images; None draws single images. The percentiles are moved outwards
    as Student's distribution asks for so few groups; with many that changes nothing. Where the two never disagree the
    interval is a point; a single group that they disagree on says nothing, and the interval is all there can be.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: percentile interval of paired data; expanded
    percentiles: Hesterberg, "What teachers should know about the bootstrap", The American Statistician 2015.
    """
    assert len(hit_a_N) == len(hit_b_N) > 0
    assert family_N is None or len(family_N) == len(hit_a_N)
    from scipy.special import ndtr

    lead_N = hit_a_N.astype(float) - hit_b_N.astype(float)
    draw = np.random.default_rng(seed).multinomial
    groups = len(lead_N)
    if family_N is None:
        # Drawing N of N images again and counting who is right is drawing from three outcomes: memory without N.
        shares = [float((lead_N > 0).mean()), float((lead_N < 0).mean())]
        counts_D3 = draw(len(lead_N), [*shares, 1 - sum(shares)], size=_BOOTSTRAP_DRAWS)
        lead_D = (counts_D3[:, 0] - counts_D3[:, 1]) / len(lead_N)
    else:
        _, family_N = np.unique(family_N, return_inverse=True)
        lead_F, images_F = np.bincount(family_N, lead_N), np.bincount(family_N)
        groups = len(lead_F)
        if groups == 1 and lead_N.any():
            return float(lead_N.mean()), -1.0, 1.0
        share_F = np.full(len(lead_F), 1 / len(lead_F))
        most = max(1, _BLOCK // len(lead_F))
        blocks = [most] * (_BOOTSTRAP_DRAWS // most) + [_BOOTSTRAP_DRAWS % most]
        drawn = (draw(len(lead_F), share_F, size=size) for size in blocks if size)
        lead_D = np.concatenate([(drawn_DF @ lead_F) / (drawn_DF @ images_F) for drawn_DF in drawn])
    tail = 0.025 if groups == 1 else float(ndtr(-math.sqrt(groups / (groups - 1)) * _students(groups)))
    low, high = np.quantile(lead_D, [tail, 1 - tail])
    return float(lead_N.mean()), float(low), float(high)


def score(
    probabilities_NK: FloatArray, labels_N: IntArray, class_names: Sequence[str], *, group_N: IntArray | None = None
) -> dict[str, object]:
    """The block that `metrics.json` holds for one split.

    Args:
        group_N: images with the same number belong together; None: each image stands alone.

    Returns:
        accuracy with its 95 % interval and the number of groups behind it (see `accuracy_interval`), balanced accuracy,
        macro F1, log loss, the number of images, and per class precision, recall with its interval, F1 and images.
        A score whose denominator is zero is None.
    """
    assert len(labels_N) == len(probabilities_NK) > 0
    group_N = _alone(len(labels_N)) if group_N is None else group_N
    predictions_N = probabilities_NK.argmax(axis=1)
    hit_N = predictions_N == labels_N
    confusion_KK = confusion_matrix(labels_N, predictions_N, len(class_names))
    per_class = {
        name: _class_scores(confusion_KK, index, hit_N[labels_N == index], group_N[labels_N == index])
        for index, name in enumerate(class_names)
    }
    f1_scores = [scores["f1"] for scores in per_class.values() if scores["f1"] is not None]
    return {
        "accuracy": float(hit_N.mean()),
        "accuracy_ci95": list(accuracy_interval(hit_N, group_N)),
        "accuracy_groups": len(np.unique(group_N)),
        "balanced_accuracy": balanced_accuracy(confusion_KK),
        "macro_f1": float(np.mean(f1_scores)) if f1_scores else None,
        "log_loss": log_loss(probabilities_NK, labels_N),
        "images": len(labels_N),
        "per_class": per_class,
        "confusion": confusion_KK.tolist(),
    }


def leak_scores(
    hit_N: npt.NDArray[np.bool_],
    names: Sequence[str],
    leaked: Collection[str],
    *,
    groups: int | None = None,
    group_N: IntArray | None = None,
) -> dict[str, object] | None:
    """The block `leak` of a split: what is left of the accuracy without images that the model knows from training.

    Args:
        hit_N: whether each image of the split is right.
        names: of these images.
        leaked: those that have copies or near-duplicates among the training images; other names are passed over.
        groups: how many groups of copies these are; None counts theirs in `group_N`.
        group_N: see `accuracy_interval`.

    Returns:
        The number of groups and of their images in this split with their paths, and accuracy, interval, images and
        groups without them, which are None where nothing is left; None where there are no such images.
    """
    kept_N = np.array([name not in leaked for name in names])
    if kept_N.all():
        return None
    group_N = _alone(len(names)) if group_N is None else group_N
    some = bool(kept_N.any())
    return {
        "groups": len(np.unique(group_N[~kept_N])) if groups is None else groups,
        "images": int((~kept_N).sum()),
        "accuracy_without": float(hit_N[kept_N].mean()) if some else None,
        "accuracy_without_ci95": list(accuracy_interval(hit_N[kept_N], group_N[kept_N])) if some else None,
        "images_without": int(kept_N.sum()),
        "groups_without": len(np.unique(group_N[kept_N])),
        "paths": [name for name in names if name in leaked],
    }


def _class_scores(
    confusion_KK: IntArray, index: int, hit_N: npt.NDArray[np.bool_], group_N: IntArray
) -> dict[str, Any]:
    """Scores of one class, of which these images are."""
    hits = int(confusion_KK[index, index])
    actual, predicted = int(confusion_KK[index].sum()), int(confusion_KK[:, index].sum())
    return {
        "precision": hits / predicted if predicted else None,
        "recall": hits / actual if actual else None,
        "recall_ci95": list(accuracy_interval(hit_N, group_N)) if actual else None,
        "f1": 2 * hits / (actual + predicted) if actual + predicted else None,
        "images": actual,
    }


def family_error(values_N: npt.NDArray[np.floating], family_N: npt.NDArray[np.integer]) -> float:
    """Standard error of the mean of N values, of which those of one family vary together and families do not.

    Source: Liang and Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 1986.
    """
    _, family_N = np.unique(family_N, return_inverse=True)
    excess_F = np.bincount(family_N, values_N - values_N.mean())
    families = len(excess_F)
    return float(np.sqrt((excess_F**2).sum() * families / max(1, families - 1)) / len(values_N))
