"""How far images are from ImageNet: the formulas by hand, then what the score says of real images.

Shapes: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torch.distributions import Normal, kl_divergence

from finetune_advisor.analysis.similarity import FAMILIAR, SHIFT_SCALE, SURE_LOGIT, TYPICAL, similarity
from finetune_advisor.features.extract import Features, measure, ruler
from finetune_advisor.processes import default_workers
from finetune_advisor.records.profile import Similarity

STAGES = tuple(TYPICAL)
CHANNELS = 64
SURE = 30.0


def made_up(
    *, images: int = 400, shift: float = 0.0, stages: Sequence[str] = STAGES, logit: float = SURE, narrow: float = 1.0
) -> Features:
    """Images whose features are moved by `shift` deviations from the reference at some `stages`.

    As many as `narrow` of the variance that should lie between the images does.
    """
    rng = np.random.default_rng(0)
    arrays, reference = {}, {}
    for stage in STAGES:
        mean_C, variance_C = rng.normal(size=CHANNELS), rng.uniform(0.5, 2.0, CHANNELS)
        variance_C[0] = 0.0  # a channel that never speaks
        reference[stage] = np.stack([mean_C, variance_C]).astype(np.float32)
        # A tenth of the variance lies between the images, the rest within them.
        between_NC = rng.normal(size=(images, CHANNELS)) * np.sqrt(0.1 * narrow * variance_C)
        moved_C = mean_C + (shift * np.sqrt(variance_C) if stage in stages else 0)
        within_NC = np.tile(0.9 * variance_C, (images, 1))
        arrays[f"norm.{stage}"] = np.concatenate([moved_C + between_NC, within_NC], axis=1).astype(np.float32)
    logits_NK = rng.normal(0, 0.1, (images, 6))
    logits_NK[:, 2] = logit
    arrays["logits"] = logits_NK.astype(np.float32)
    return Features(arrays, reference, STAGES)


def test_images_with_the_reference_statistics_are_similar() -> None:
    found = similarity(made_up(), seed=0)
    assert found.score == pytest.approx(1.0, abs=1e-3)
    assert found.low <= found.score <= found.high <= 1.0
    assert found.max_logit == pytest.approx(SURE)
    assert [stage.stage for stage in found.per_stage] == list(STAGES)
    assert all(stage.divergence == pytest.approx(0, abs=2e-3) for stage in found.per_stage)


def test_divergence_is_the_median_kl_of_the_pooled_statistics_without_what_few_images_add() -> None:
    images = 400
    features = made_up(shift=0.7, images=images)
    for stage in similarity(features, seed=0).per_stage:
        values_NC = features.arrays[f"norm.{stage.stage}"].astype(np.float64)[:, np.r_[1:CHANNELS, -CHANNELS + 1 : 0]]
        mean_NC, variance_NC = np.split(values_NC, 2, axis=1)
        spread_C = mean_NC.var(0, ddof=1)
        mean_C, variance_C = features.reference[stage.stage].astype(np.float64)[:, 1:]
        data = Normal(torch.from_numpy(mean_NC.mean(0)), torch.from_numpy(variance_NC.mean(0) + spread_C).sqrt())
        imagenet = Normal(torch.from_numpy(mean_C), torch.from_numpy(variance_C).sqrt())
        by_chance_C = 0.5 * torch.from_numpy(spread_C / images / variance_C)
        expected = float((kl_divergence(data, imagenet) - by_chance_C).quantile(0.5))
        assert stage.divergence == pytest.approx(expected, rel=1e-6)


def test_the_number_of_images_does_not_move_the_divergence() -> None:
    few = np.mean([similarity(of_kind(seed), seed=0).per_stage[2].divergence for seed in range(40)])
    assert few == pytest.approx(similarity(made_up(shift=0.3), seed=0).per_stage[2].divergence, abs=3e-3)


def of_kind(seed: int) -> Features:
    """Twenty images drawn from the many."""
    return made_up(shift=0.3).rows(np.random.default_rng(seed).choice(400, 20, replace=False))


def test_the_score_falls_with_the_shift() -> None:
    scores = [similarity(made_up(shift=shift), seed=0).score for shift in (0.0, 0.6, 1.0, 2.0)]
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.5 < scores[0]


def test_narrow_data_is_not_called_different_in_late_stages() -> None:
    """Few classes leave less variance between the images, which is no sign of other content."""
    wide, narrow = (similarity(made_up(narrow=narrow), seed=0) for narrow in (1.0, 0.05))
    assert narrow.score == pytest.approx(wide.score, abs=0.02)


def test_the_score_is_blind_to_the_stem_and_sees_every_other_stage() -> None:
    for stage in STAGES:
        found = similarity(made_up(shift=2.0, stages=[stage]), seed=0)
        assert (found.score > 0.99) == (stage == "stem"), stage


@pytest.mark.parametrize("logit", [3.0, SURE_LOGIT, 8.0, 30.0])
def test_the_score_follows_the_confidence_of_the_classifier(logit: float) -> None:
    found = similarity(made_up(logit=logit), seed=0)
    familiar = 1 / (1 + np.exp(SURE_LOGIT - logit))
    assert found.late == pytest.approx(min(familiar / FAMILIAR, 1), abs=1e-6)
    assert found.score == pytest.approx(np.sqrt(found.early * found.late))


def test_the_early_score_joins_divergence_and_typicality() -> None:
    """With all variance within the images both are the same closed form, and typicality starts from `TYPICAL`."""
    found = similarity(made_up(shift=1.0, narrow=1e-12), seed=0)
    single = 0.5 * (0.9 + 1.0 - 1 - np.log(0.9))
    typicality = single - np.mean([TYPICAL[stage] for stage in STAGES[1:]])
    assert found.early == pytest.approx(np.exp(-(single + typicality) / SHIFT_SCALE), rel=1e-4)


def test_more_images_narrow_the_interval() -> None:
    few, many = (similarity(made_up(images=images, shift=0.8), seed=0) for images in (20, 2000))
    assert 0 < many.high - many.low < few.high - few.low
    for found in (few, many):
        assert found.low <= found.score <= found.high


def test_the_seed_draws_the_bootstrap_and_nothing_else() -> None:
    one, same, other = (similarity(made_up(shift=0.8), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.score, one.per_stage) == (other.score, other.per_stage)
    assert one.low != other.low


def test_how_many_images_are_looked_at_together_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = similarity(made_up(images=100, shift=0.3), seed=0)
    monkeypatch.setattr("finetune_advisor.analysis.similarity.ROWS", 7)
    parts = similarity(made_up(images=100, shift=0.3), seed=0)
    assert parts.model_dump(exclude={"per_stage"}) == pytest.approx(whole.model_dump(exclude={"per_stage"}))
    assert [stage.score for stage in parts.per_stage] == pytest.approx([stage.score for stage in whole.per_stage])


def of_files(paths: Sequence[Path]) -> Similarity:
    measured = measure(paths, [ruler()], device="cpu", workers=default_workers(), use_cache=False)
    assert not measured.unreadable
    return similarity(measured.features[0], seed=0)


def test_gray_noise_is_nothing_like_imagenet(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(16)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    assert of_files(paths).high < 0.3


def photographs(shared_data: Path, count: int) -> list[Path]:
    """So many photographs, one of each class, spread over the classes."""
    everything = sorted((shared_data / "imagenet_sample").glob("*.jpg"))
    return everything[:: len(everything) // count][:count]


@pytest.mark.slow
def test_photographs_are_similar_and_magnetic_tiles_are_not(shared_data: Path) -> None:
    seen = of_files(photographs(shared_data, 100))
    tiles = of_files(sorted((shared_data / "tile_defects" / "train").glob("*/*.jpg"))[::9])
    assert seen.low > 0.95
    assert tiles.high < 0.5
    assert seen.entropy < tiles.entropy
    assert seen.max_logit == pytest.approx(10, abs=1)


def pixels_shuffled(image: Image.Image) -> Image.Image:
    pixels_HWC = np.array(image)
    shuffled = np.random.default_rng(0).permutation(pixels_HWC.reshape(-1, 3))
    return Image.fromarray(shuffled.reshape(pixels_HWC.shape))


def small(side: int) -> Callable[[Image.Image], Image.Image]:
    return lambda image: ImageOps.contain(image, (side, side))


def blurred(radius: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.filter(ImageFilter.GaussianBlur(radius))


@pytest.mark.slow
@pytest.mark.parametrize(
    "harder",
    [
        [ImageOps.grayscale],
        [ImageOps.invert],
        [blurred(1), blurred(2), blurred(4)],
        [small(128), small(64), small(32)],
        [pixels_shuffled],
    ],
    ids=["gray", "inverted", "blurred", "small", "shuffled"],
)
def test_spoiling_photographs_lowers_the_score(
    harder: list[Callable[[Image.Image], Image.Image]], shared_data: Path, tmp_path: Path
) -> None:
    originals = photographs(shared_data, 100)
    scores = [of_files(originals).score]
    for number, change in enumerate(harder):
        spoiled = [tmp_path / f"{number}-{path.stem}.png" for path in originals]
        for source, target in zip(originals, spoiled, strict=True):
            with Image.open(source) as image:
                change(image.convert("RGB")).save(target)
        scores.append(of_files(spoiled).score)
    assert scores == sorted(scores, reverse=True) and scores[-1] < scores[0] - 0.005, scores
