"""How much the images look like ImageNet, read off the ruler without any ImageNet image.

Three readings are joined, because each is blind to something:

- *Divergence*: BatchNorm layers carry the running mean and variance of ImageNet's features at every depth. The data's
  own are compared with them. It sees a change of resolution, sensor or color. In late layers it would also see how few
  classes there are: data with few classes is narrow, so its variance differs from ImageNet's even when every image
  looks like ImageNet. Only early stages count.
- *Typicality*: the same comparison for each image alone, less what it is for ImageNet photographs. A mean over images,
  it does not know how many classes there are, and so speaks at every depth.
- *Familiarity*: how sure the ruler's ImageNet classifier is of each image: what the content says.

Shapes: N images, C channels, B bootstrap samples, R images at a time.

Sources: Ioffe and Szegedy, "Batch Normalization", ICML 2015 (the running statistics); Hendrycks and Gimpel, "A Baseline
for Detecting Misclassified and Out-of-Distribution Examples", ICLR 2017 (confidence as a sign of familiar content).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune_advisor.features.extract import Features
from finetune_advisor.metrics import softmax
from finetune_advisor.records.profile import Similarity, StageSimilarity

TYPICAL: Mapping[str, float] = {
    "stem": 0.202,
    "blocks.0": 0.096,
    "blocks.1": 0.059,
    "blocks.2": 0.027,
    "blocks.3": 0.049,
    "blocks.4": 0.037,
    "blocks.5": 0.156,
    "blocks.6": 0.303,
}
"""Divergence of a single ImageNet photograph at each stage of the ruler, in nats: what typicality starts from.

Mean over 1,000 photographs, one of each class.
"""

LEFT_OUT = frozenset({"stem"})
"""Stages that are reported and do not count: in the stem, photographs of ImageNet differ widely among themselves."""

EARLY = frozenset({"blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4"})
"""Stages whose divergence counts: beyond them it measures the number of classes."""

SHIFT_SCALE = 0.35
"""Divergence and typicality, in nats, at which early similarity has fallen to 1/e."""

SURE_LOGIT = 6.0
"""Largest logit at which the ruler's classifier counts as half familiar with an image.

Images without any ImageNet content have 5 to 6, ImageNet photographs 10 on average.
"""

FAMILIAR = 0.92
"""Mean familiarity of ImageNet photographs, less a margin of 3 % so that the noise of few images does not count."""

DEAD = 1e-6
"""Channels whose running variance is below this never speak."""

BOOTSTRAP_SAMPLES = 200

ROWS = 2048
"""Images that are looked at together in double precision: of all of them together it would take gigabytes."""

FloatArray = npt.NDArray[np.floating]


def similarity(ruler: Features, *, seed: int) -> Similarity:
    """Score of the trainable images against ImageNet, with a 95 % bootstrap interval over images.

    Args:
        ruler: what the ruler saw of the trainable images; at least two.
        seed: seeds the bootstrap.
    """
    max_logit_N, entropy = _confidence(ruler.arrays["logits"])
    images = len(max_logit_N)
    # The first row is the data as it is, the others are bootstrap samples of it.
    weight_BN = np.full((1 + BOOTSTRAP_SAMPLES, images), 1 / images)
    weight_BN[1:] *= np.random.default_rng(seed).multinomial(images, weight_BN[0], size=BOOTSTRAP_SAMPLES)
    shifts = {shift.stage: shift for shift in _shifts(ruler, weight_BN)}
    early_B = _early([shift for name, shift in shifts.items() if name not in LEFT_OUT])
    late_B = np.clip(weight_BN @ _familiarity(max_logit_N) / FAMILIAR, 0, 1)
    score_B = np.sqrt(early_B * late_B)
    low, high = _interval(score_B)
    return Similarity(
        score=float(score_B[0]),
        low=low,
        high=high,
        early=float(early_B[0]),
        late=float(late_B[0]),
        per_stage=tuple(
            StageSimilarity(stage=name, score=float(_early([shift])[0]), divergence=float(shift.divergence_B[0]))
            for name, shift in shifts.items()
        ),
        max_logit=float(max_logit_N.mean()),
        entropy=entropy,
    )


@dataclass(frozen=True)
class _Shift:
    """How far the data is from ImageNet at one stage, in nats, for each row of weights."""

    stage: str
    divergence_B: FloatArray
    typicality_B: FloatArray


def _shifts(ruler: Features, weight_BN: FloatArray) -> Iterator[_Shift]:
    for stage in ruler.stages:
        if stage not in ruler.reference:
            continue
        moments, single_N = _moments(ruler, stage, weight_BN)
        divergence_B = _divergence_of_all(moments, count_B=1 / (weight_BN**2).sum(axis=1))
        yield _Shift(stage, divergence_B, weight_BN @ single_N - TYPICAL[stage])


@dataclass(frozen=True)
class _Moments:
    """Weighted means over the images, in units of ImageNet's distribution of each channel."""

    mean_BC: FloatArray
    square_BC: FloatArray
    """Of the squares of the images' means."""
    variance_BC: FloatArray
    """Of the variances within the images."""


def _moments(ruler: Features, stage: str, weight_BN: FloatArray) -> tuple[_Moments, FloatArray]:
    """The moments of all images together, and the divergence of each image alone (N,)."""
    reference_2C = ruler.reference[stage].astype(np.float64)
    sums = np.zeros((3, len(weight_BN), int((reference_2C[1] > DEAD).sum())))
    single_N = np.empty(weight_BN.shape[1])
    for start in range(0, len(single_N), ROWS):
        index_R = np.arange(start, min(start + ROWS, len(single_N)))
        mean_RC, variance_RC = _standardized(ruler.rows(index_R).arrays[f"norm.{stage}"], reference_2C)
        single_N[index_R] = np.median(_divergence(mean_RC**2, variance_RC), axis=1)
        for total_BC, value_RC in zip(sums, (mean_RC, mean_RC**2, variance_RC), strict=True):
            total_BC += weight_BN[:, index_R] @ value_RC
    return _Moments(*sums), single_N


def _standardized(norm_R2C: FloatArray, reference_2C: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each image's mean and variance of the living channels, in units of ImageNet's distribution (R, C) each."""
    mean_RC, variance_RC = np.split(norm_R2C.astype(np.float64), 2, axis=1)
    reference_mean_C, reference_variance_C = reference_2C
    alive_C = reference_variance_C > DEAD
    scale_C = reference_variance_C[alive_C]
    return (mean_RC[:, alive_C] - reference_mean_C[alive_C]) / np.sqrt(scale_C), variance_RC[:, alive_C] / scale_C


def _divergence_of_all(moments: _Moments, *, count_B: FloatArray) -> FloatArray:
    """Median over channels of KL(data || ImageNet) between normal distributions (B,).

    The mean of few images scatters around that of their kind; what this adds to the squared shift is taken off.
    """
    mean_BC = moments.mean_BC
    spread_BC = np.clip(moments.square_BC - mean_BC**2, 0, None) * (count_B / np.maximum(count_B - 1, 1))[:, None]
    shift2_BC = mean_BC**2 - spread_BC / count_B[:, None]
    return np.asarray(np.median(_divergence(shift2_BC, moments.variance_BC + spread_BC), axis=1))


def _divergence(shift2: FloatArray, variance: FloatArray) -> FloatArray:
    """KL of a normal distribution from the standard one, by its squared mean and its variance."""
    variance = np.clip(variance, 1e-12, None)
    return np.asarray(0.5 * (variance + shift2 - 1 - np.log(variance)))


def _early(shifts: list[_Shift]) -> FloatArray:
    """What the stages say, 0..1 (B,): ImageNet itself scatters around zero shift, and less than that counts as none."""
    typicality_B = np.mean([shift.typicality_B for shift in shifts], axis=0)
    counting = [shift.divergence_B for shift in shifts if shift.stage in EARLY]
    divergence_B = np.mean(counting, axis=0) if counting else np.zeros_like(typicality_B)
    return np.asarray(np.exp(-np.clip(np.clip(divergence_B, 0, None) + typicality_B, 0, None) / SHIFT_SCALE))


def _familiarity(max_logit_N: FloatArray) -> FloatArray:
    """0..1 an image (N,): bounded, so that few very sure answers do not make up for many unsure ones."""
    return np.asarray(1 / (1 + np.exp(SURE_LOGIT - max_logit_N)))


def _interval(score_B: FloatArray) -> tuple[float, float]:
    """The 95 % interval, centered: a bootstrap sample repeats images, which shifts all scores a little."""
    shift_B = score_B[1:] - np.median(score_B[1:])
    low, high = np.quantile(shift_B, [0.025, 0.975])
    return float(np.clip(score_B[0] + low, 0, 1)), float(np.clip(score_B[0] + high, 0, 1))


def _confidence(logits_NK: FloatArray) -> tuple[FloatArray, float]:
    """Largest logit of each image (N,), and the mean entropy of the probabilities, in nats."""
    entropy_N = np.empty(len(logits_NK))
    for start in range(0, len(logits_NK), ROWS):
        probabilities_RK = softmax(logits_NK[start : start + ROWS].astype(np.float64))
        entropy_N[start : start + ROWS] = -(probabilities_RK * np.log(np.clip(probabilities_RK, 1e-12, None))).sum(
            axis=1
        )
    return logits_NK.max(axis=1).astype(np.float64), float(entropy_N.mean())
