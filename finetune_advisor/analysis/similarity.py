"""How much the images look like ImageNet, read off the ruler without any ImageNet image.

BatchNorm layers carry the running mean and variance of ImageNet's features at every depth. The data's own mean and
variance at the same place are compared with them: early layers see a change of resolution or sensor. Data with few
classes is narrow, so in late layers its variance differs from ImageNet's even when every image looks like ImageNet;
there the classifier's confidence, a figure per image that does not suffer from it, speaks instead.

Shapes: N images, C channels, B bootstrap samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetune_advisor.artifacts.profile import Similarity, StageSimilarity
from finetune_advisor.features import Features
from finetune_advisor.metrics import softmax

EARLY_STAGES = 6
"""Stages from the stem whose divergence counts: beyond them it measures the number of classes."""

DIVERGENCE_SCALE = 0.25
"""Divergence in nats at which a stage's similarity has fallen to 1/e."""

FAMILIAR_LOGIT = 10.0
"""Mean largest logit of the ruler on ImageNet photographs: confidence one."""

STRANGE_LOGIT = 5.0
"""Mean largest logit on images without any ImageNet content: confidence zero."""

BOOTSTRAP_SAMPLES = 200

FloatArray = npt.NDArray[np.floating]


def similarity(ruler: Features, *, seed: int) -> Similarity:
    """Score of the trainable images against ImageNet, with a 95 % bootstrap interval over images."""
    images = len(ruler.arrays["logits"])
    max_logit_N = ruler.arrays["logits"].max(axis=1).astype(np.float64)
    uniform_1N = np.full((1, images), 1 / images)
    divergences = {
        stage: float(_divergence(ruler, stage, uniform_1N)[0]) for stage in ruler.stages if stage in ruler.reference
    }
    rng = np.random.default_rng(seed)
    resampled_BN = rng.multinomial(images, uniform_1N[0], size=BOOTSTRAP_SAMPLES) / images
    low, high = np.quantile(_scores(ruler, max_logit_N, resampled_BN), [0.025, 0.975])
    probabilities_NK = softmax(ruler.arrays["logits"])
    entropy_N = -(probabilities_NK * np.log(np.clip(probabilities_NK, 1e-12, None))).sum(axis=1)
    return Similarity(
        score=float(_scores(ruler, max_logit_N, uniform_1N)[0]),
        low=float(low),
        high=float(high),
        per_stage=tuple(
            StageSimilarity(stage=stage, score=float(np.exp(-value / DIVERGENCE_SCALE)), divergence=value)
            for stage, value in divergences.items()
        ),
        max_logit=float(max_logit_N.mean()),
        entropy=float(entropy_N.mean()),
    )


def _scores(ruler: Features, max_logit_N: FloatArray, weight_BN: FloatArray) -> FloatArray:
    """Geometric mean of early-feature similarity and classifier confidence, per row of weights (B,)."""
    early = [stage for stage in ruler.stages if stage in ruler.reference][:EARLY_STAGES]
    divergence_B = np.mean([_divergence(ruler, stage, weight_BN) for stage in early], axis=0)
    confidence_B = (weight_BN @ max_logit_N - STRANGE_LOGIT) / (FAMILIAR_LOGIT - STRANGE_LOGIT)
    return np.asarray(np.sqrt(np.exp(-divergence_B / DIVERGENCE_SCALE) * np.clip(confidence_B, 0, 1)))


def _divergence(ruler: Features, stage: str, weight_BN: FloatArray) -> FloatArray:
    """Median over channels of KL(data || ImageNet) between normal distributions at a BatchNorm input (B,)."""
    mean_NC, variance_NC = np.split(ruler.arrays[f"norm.{stage}"].astype(np.float64), 2, axis=1)
    reference_mean_C, reference_variance_C = ruler.reference[stage].astype(np.float64)
    mean_BC = weight_BN @ mean_NC
    variance_BC = weight_BN @ (variance_NC + mean_NC**2) - mean_BC**2
    ratio_BC = np.clip(variance_BC, 1e-12, None) / np.clip(reference_variance_C, 1e-12, None)
    shift_BC = (mean_BC - reference_mean_C) ** 2 / np.clip(reference_variance_C, 1e-12, None)
    return np.asarray(np.median(0.5 * (ratio_BC + shift_BC - 1 - np.log(ratio_BC)), axis=1))
