"""Profiles as `analyze` would measure them, made up in a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest

from finetune_advisor.records.health import FoldLeak, Health, ImageSizes, Imbalance, LabelSuspect
from finetune_advisor.records.profile import (
    Forecast,
    PowerLaw,
    ProbeScore,
    Profile,
    Sampled,
    Seconds,
    Similarity,
    Size,
    SplitCount,
    StageSimilarity,
    View,
    ViewEffect,
)

PROBES = {"stem": (0.52, 1.1), "blocks.0": (0.71, 0.8), "pooled": (0.91, 0.31), "all": (0.93, 0.33)}
"""Place -> accuracy and log loss: the least loss is at `pooled`, the highest accuracy at `all`."""

STAGES = ("stem", *(f"blocks.{number}" for number in range(7)))
"""The stages of a real network."""


def made_stage_probes(*accuracies: float) -> dict[str, tuple[float, float]]:
    """Probes at the stages of a real network; log loss is 1 less the accuracy, the top is as good as the last stage."""
    found = {stage: (accuracy, 1 - accuracy) for stage, accuracy in zip(STAGES, accuracies, strict=True)}
    return {**found, "pooled": (accuracies[-1], 1 - accuracies[-1]), "all": (accuracies[-1], 1 - accuracies[-1])}


def made_forecast(*, now: float, later: float, half: float = 0.0, images: float = 100) -> dict[str, Any]:
    """Keys of a `Size` whose probe has an accuracy now and another at ten times the images, give or take `half`."""
    exponent, floor = 1.0, 0.0
    return {
        "power_law": PowerLaw(floor=floor, scale=(1 - now) * images**exponent, exponent=exponent),
        "forecast": Forecast(images=10 * images, accuracy=later, low=later - half, high=later + half),
    }


def made_effect(
    view: View, *, transferred: float = 0.0, refitted: float = 0.0, std: float = 0.01, majority: float | None = 0.5
) -> ViewEffect:
    """A view by the changes it makes to an accuracy of 0.9, beside the share of the largest class."""
    return ViewEffect(
        view=view,
        images=600,
        accuracy=0.9,
        transferred=0.9 + transferred,
        refitted=0.9 + refitted,
        std=std,
        transferred_std=std,
        majority=majority,
        majority_std=None if majority is None else std,
    )


def made_profile(
    *,
    per_class: int = 50,
    score: float = 0.95,
    spread: float = 0.02,
    probes: Mapping[str, tuple[float, float]] = PROBES,
    std: float = 0.01,
    data: str = "photos",
    ratio: float = 1.0,
    stages: Mapping[str, float] | None = None,
    views: tuple[ViewEffect, ...] = (),
    sizes: ImageSizes | None = None,
    modes: Mapping[str, int] | None = None,
    leak: FoldLeak | None = None,
    suspects: int = 0,
    curve: Mapping[str, Any] | None = None,
    smallest: int | None = None,
    effective: float = 2.0,
    group: str | None = None,
    least_loss_strength: float | None = 1e-3,
    sampled: Sampled | None = None,
    counts: Mapping[str, int] | None = None,
) -> Profile:
    """What is not given is little data that looks like ImageNet, with nothing new measured."""
    images = 2 * per_class
    held_out = max(2, images // 5)
    return Profile(
        data=data,
        group=group,
        backbone="tf_efficientnet_lite0",
        weights="bundled",
        size_px=224,
        seed=3,
        validation=0.2,
        images=images,
        sampled=sampled,
        classes=("ants", "bees"),
        splits={
            "train": SplitCount(images=images - held_out, per_class=dict(counts or {})),
            "val": SplitCount(images=held_out, per_class={}),
        },
        health=Health(
            bad_files=(),
            ignored_files=(),
            exact_duplicates=(),
            duplicates_across_splits=(),
            duplicates_across_classes=(),
            label_suspects=tuple(suspect(number) for number in range(suspects)),
            sizes=sizes,
            color_modes=dict(modes or {}),
            leak=leak,
            imbalance=Imbalance(largest="ants", smallest="bees", ratio=ratio),
        ),
        size=Size(
            images=images,
            per_class=per_class,
            effective_classes=effective,
            smallest_class=per_class if smallest is None else smallest,
            **(curve or {}),
        ),
        similarity=Similarity(
            score=score,
            low=score - spread,
            high=score + spread,
            per_stage=tuple(
                StageSimilarity(stage=stage, score=value, divergence=1 - value)
                for stage, value in (stages or {}).items()
            ),
            max_logit=9.8,
            entropy=1.5,
        ),
        probes=tuple(
            ProbeScore(
                stage=stage,
                accuracy=accuracy,
                std=std,
                log_loss=loss,
                strength=1e-3,
                least_loss_strength=least_loss_strength,
            )
            for stage, (accuracy, loss) in probes.items()
        ),
        views=views,
        seconds=Seconds(listing=0, images=0, probes=0, total=0),
    )


@pytest.fixture
def make_profile() -> Callable[..., Profile]:
    """The factory of profiles."""
    return made_profile


@pytest.fixture
def stage_probes() -> Callable[..., dict[str, tuple[float, float]]]:
    return made_stage_probes


@pytest.fixture
def forecast() -> Callable[..., dict[str, Any]]:
    return made_forecast


@pytest.fixture
def effect() -> Callable[..., ViewEffect]:
    return made_effect


def suspect(number: int) -> LabelSuspect:
    return LabelSuspect(
        path=f"ants/{number}.jpg", label="ants", suggestion="bees", label_probability=0.1, suggestion_probability=0.9
    )


@pytest.fixture
def full_profile(make_profile: Callable[..., Profile]) -> Callable[..., Profile]:
    """The same factory with everything measured: photographs that are harmed by nothing but being upside down."""

    def make(**facts: Any) -> Profile:
        views = (
            made_effect("horizontal_flip"),
            made_effect("vertical_flip", transferred=-0.2, refitted=-0.03),
            made_effect("rotation_90", transferred=-0.3, refitted=-0.04),
            made_effect("gray", transferred=-0.01),
            made_effect("pad"),
            made_effect("small", refitted=-0.05),
        )
        assert {each.view for each in views} == set(get_args(View))
        measured: dict[str, Any] = {
            "views": views,
            "sizes": ImageSizes(shorter_side=(200, 256, 300), aspect=(0.7, 1.2, 1.6), off_square=0.6),
            "modes": {"RGB": 90, "L": 10},
            "leak": FoldLeak(families=3, images_in_families=7),
            "curve": made_forecast(now=0.9, later=0.955, half=0.01),
            "probes": made_stage_probes(0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95),
            "stages": dict.fromkeys(STAGES, 0.9),
        }
        return make_profile(**{**measured, **facts})

    return make
