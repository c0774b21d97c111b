"""Probabilities and labels to named numbers, each with what is needed to doubt it.

Shapes: N images, K classes, F families of images, D draws of a bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution: half the width of a 95 % interval in standard errors."""

_BOOTSTRAP_DRAWS = 2000
_BLOCK = 2**22
"""Counts that are drawn at once, 32 MB of them."""

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]


def wilson_interval(correct: float, total: int) -> tuple[float, float]:
    """95 % interval of a proportion, right for small samples and near 0 and 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    assert 0 <= correct <= total, f"{correct} of {total}"
    if total == 0:
        return 0.0, 1.0
    share, z2 = correct / total, Z95**2
    center = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    # At 0 and at `total` an end is the share itself; rounding must not move it past the share.
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))


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

    Families of images are drawn, each with all its images; None draws single images. Where the two never disagree the
    interval is a point; a single family that they disagree on says nothing, and the interval is all there can be.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993: percentile interval of paired data.
    """
    assert len(hit_a_N) == len(hit_b_N) > 0
    assert family_N is None or len(family_N) == len(hit_a_N)
    lead_N = hit_a_N.astype(float) - hit_b_N.astype(float)
    draw = np.random.default_rng(seed).multinomial
    if family_N is None:
        # Drawing N of N images again and counting who is right is drawing from three outcomes: memory without N.
        shares = [float((lead_N > 0).mean()), float((lead_N < 0).mean())]
        counts_D3 = draw(len(lead_N), [*shares, 1 - sum(shares)], size=_BOOTSTRAP_DRAWS)
        lead_D = (counts_D3[:, 0] - counts_D3[:, 1]) / len(lead_N)
    else:
        _, family_N = np.unique(family_N, return_inverse=True)
        lead_F, images_F = np.bincount(family_N, lead_N), np.bincount(family_N)
        if len(lead_F) == 1 and lead_N.any():
            return float(lead_N.mean()), -1.0, 1.0
        share_F = np.full(len(lead_F), 1 / len(lead_F))
        most = max(1, _BLOCK // len(lead_F))
        blocks = [most] * (_BOOTSTRAP_DRAWS // most) + [_BOOTSTRAP_DRAWS % most]
        drawn = (draw(len(lead_F), share_F, size=size) for size in blocks if size)
        lead_D = np.concatenate([(drawn_DF @ lead_F) / (drawn_DF @ images_F) for drawn_DF in drawn])
    low, high = np.quantile(lead_D, [0.025, 0.975])
    return float(lead_N.mean()), float(low), float(high)


def score(probabilities_NK: FloatArray, labels_N: IntArray, class_names: Sequence[str]) -> dict[str, object]:
    """The block that `metrics.json` holds for one split.

    Returns:
        accuracy with its 95 % Wilson interval, balanced accuracy, macro F1, log loss, the number of
        images, and per class precision, recall, F1 and images. A score whose denominator is zero is None.
    """
    assert len(labels_N) == len(probabilities_NK) > 0
    predictions_N = probabilities_NK.argmax(axis=1)
    confusion_KK = confusion_matrix(labels_N, predictions_N, len(class_names))
    correct = int(confusion_KK.trace())
    low, high = wilson_interval(correct, len(labels_N))
    per_class = {name: _class_scores(confusion_KK, index) for index, name in enumerate(class_names)}
    f1_scores = [scores["f1"] for scores in per_class.values() if scores["f1"] is not None]
    return {
        "accuracy": correct / len(labels_N),
        "accuracy_ci95": [low, high],
        "balanced_accuracy": balanced_accuracy(confusion_KK),
        "macro_f1": float(np.mean(f1_scores)) if f1_scores else None,
        "log_loss": log_loss(probabilities_NK, labels_N),
        "images": len(labels_N),
        "per_class": per_class,
        "confusion": confusion_KK.tolist(),
    }


def _class_scores(confusion_KK: IntArray, index: int) -> dict[str, float | int | None]:
    hits = int(confusion_KK[index, index])
    actual, predicted = int(confusion_KK[index].sum()), int(confusion_KK[:, index].sum())
    return {
        "precision": hits / predicted if predicted else None,
        "recall": hits / actual if actual else None,
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
