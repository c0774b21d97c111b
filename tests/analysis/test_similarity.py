"""How far images are from ImageNet: the formula by hand, then what it says of real images.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Normal, kl_divergence

from finetune_advisor.analysis.similarity import DIVERGENCE_SCALE, FAMILIAR_LOGIT, STRANGE_LOGIT, similarity
from finetune_advisor.artifacts.profile import Similarity
from finetune_advisor.data.batches import default_workers
from finetune_advisor.features import Features, measure, ruler

STAGES = tuple(f"stage{number}" for number in range(8))
CHANNELS = 5


def made_up(
    *, images: int = 400, shift: float = 0.0, stages: Sequence[str] = STAGES, logit: float = FAMILIAR_LOGIT
) -> Features:
    """Images whose features have the reference statistics, moved by `shift` deviations at some `stages`."""
    rng = np.random.default_rng(0)
    arrays, reference = {}, {}
    for stage in STAGES:
        mean_C, variance_C = rng.normal(size=CHANNELS), rng.uniform(0.5, 2.0, CHANNELS)
        reference[stage] = np.stack([mean_C, variance_C]).astype(np.float32)
        # Half of the variance lies between the images, half within them.
        between_NC = rng.normal(size=(images, CHANNELS))
        between_NC = (between_NC - between_NC.mean(0)) / between_NC.std(0) * np.sqrt(variance_C / 2)
        moved_C = mean_C + (shift * np.sqrt(variance_C) if stage in stages else 0)
        within_NC = np.tile(variance_C / 2, (images, 1))
        arrays[f"norm.{stage}"] = np.concatenate([moved_C + between_NC, within_NC], axis=1).astype(np.float32)
    logits_NK = rng.normal(0, 0.1, (images, 6))
    logits_NK[:, 2] = logit
    arrays["logits"] = logits_NK.astype(np.float32)
    return Features(arrays, reference, STAGES)


def test_images_with_the_reference_statistics_are_similar() -> None:
    found = similarity(made_up(), seed=0)
    assert found.score == pytest.approx(1.0, abs=1e-4)
    assert found.low <= found.score <= 1.0
    assert found.max_logit == pytest.approx(FAMILIAR_LOGIT)
    assert all(stage.divergence == pytest.approx(0, abs=1e-5) for stage in found.per_stage)


def test_divergence_is_the_median_kl_of_the_pooled_statistics() -> None:
    features = made_up(shift=0.7)
    for stage in similarity(features, seed=0).per_stage:
        mean_NC, variance_NC = np.split(features.arrays[f"norm.{stage.stage}"].astype(np.float64), 2, axis=1)
        pooled_variance_C = variance_NC.mean(0) + mean_NC.var(0)  # law of total variance
        data = Normal(torch.from_numpy(mean_NC.mean(0)), torch.from_numpy(pooled_variance_C).sqrt())
        mean_C, reference_variance_C = features.reference[stage.stage].astype(np.float64)
        imagenet = Normal(torch.from_numpy(mean_C), torch.from_numpy(reference_variance_C).sqrt())
        assert stage.divergence == pytest.approx(float(kl_divergence(data, imagenet).median()), rel=1e-6)
        assert stage.score == pytest.approx(np.exp(-stage.divergence / DIVERGENCE_SCALE))


def test_the_score_falls_with_the_shift_of_early_stages() -> None:
    scores = [similarity(made_up(shift=shift), seed=0).score for shift in (0.0, 0.3, 0.6, 1.2)]
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.5


def test_late_stages_which_measure_the_number_of_classes_do_not_count() -> None:
    assert similarity(made_up(shift=3.0, stages=STAGES[6:]), seed=0).score == pytest.approx(1.0, abs=1e-4)
    assert similarity(made_up(shift=3.0, stages=STAGES[:1]), seed=0).score < 0.9


@pytest.mark.parametrize(("logit", "score"), [(0.0, 0.0), (STRANGE_LOGIT, 0.0), (7.5, 0.5**0.5), (30.0, 1.0)])
def test_the_score_follows_the_confidence_of_the_classifier(logit: float, score: float) -> None:
    assert similarity(made_up(logit=logit), seed=0).score == pytest.approx(score, abs=1e-3)


def test_more_images_narrow_the_interval() -> None:
    few, many = (similarity(made_up(images=images, shift=0.5), seed=0) for images in (20, 2000))
    assert 0 < many.high - many.low < few.high - few.low
    for found in (few, many):
        assert found.low <= found.score <= found.high


def test_the_seed_draws_the_bootstrap_and_nothing_else() -> None:
    one, same, other = (similarity(made_up(shift=0.5), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.score, one.per_stage) == (other.score, other.per_stage)
    assert one.low != other.low


def of_files(paths: Sequence[Path]) -> Similarity:
    measured = measure(paths, [ruler()], device="cpu", workers=default_workers(), use_cache=False)
    assert not measured.unreadable
    return similarity(measured.features[0], seed=0)


@pytest.mark.slow
def test_photographs_are_similar_and_magnetic_tiles_are_not(shared_data: Path) -> None:
    photographs = of_files(sorted((shared_data / "imagenet_sample").glob("*.jpg"))[::10])
    tiles = of_files(sorted((shared_data / "tile_defects" / "train").glob("*/*.jpg"))[::9])
    assert photographs.low > 0.85
    assert tiles.high < 0.5
    assert photographs.entropy < tiles.entropy
    assert photographs.max_logit == pytest.approx(10, abs=1)


def test_gray_noise_is_nothing_like_imagenet(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(16)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    assert of_files(paths).high < 0.3
