"""Profiles as `analyze` would measure them, made up in a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from finetune_advisor.artifacts.profile import (
    Health,
    Imbalance,
    ProbeScore,
    Profile,
    Seconds,
    Similarity,
    Size,
    SplitCount,
)

PROBES = {"stem": (0.52, 1.1), "blocks.0": (0.71, 0.8), "pooled": (0.91, 0.31), "all": (0.93, 0.33)}
"""Place -> accuracy and log loss: the least loss is at `pooled`, the highest accuracy at `all`."""


@pytest.fixture
def make_profile() -> Callable[..., Profile]:
    """A factory: what is not given is little data that looks like ImageNet."""

    def make(
        *,
        per_class: int = 50,
        score: float = 0.95,
        spread: float = 0.02,
        probes: Mapping[str, tuple[float, float]] = PROBES,
        std: float = 0.01,
        data: str = "photos",
        ratio: float = 1.0,
    ) -> Profile:
        images = 2 * per_class
        held_out = max(2, images // 5)
        return Profile(
            data=data,
            backbone="tf_efficientnet_lite0",
            weights="bundled",
            size_px=224,
            seed=3,
            validation=0.2,
            images=images,
            classes=("ants", "bees"),
            splits={
                "train": SplitCount(images=images - held_out, per_class={}),
                "val": SplitCount(images=held_out, per_class={}),
            },
            health=Health(
                bad_files=(),
                ignored_files=(),
                exact_duplicates=(),
                duplicates_across_splits=(),
                duplicates_across_classes=(),
                imbalance=Imbalance(largest="ants", smallest="bees", ratio=ratio),
            ),
            size=Size(
                images=images, per_class=per_class, effective_classes=images / per_class, smallest_class=per_class
            ),
            similarity=Similarity(
                score=score, low=score - spread, high=score + spread, per_stage=(), max_logit=9.8, entropy=1.5
            ),
            probes=tuple(
                ProbeScore(stage=stage, accuracy=accuracy, std=std, log_loss=loss, strength=1e-3)
                for stage, (accuracy, loss) in probes.items()
            ),
            seconds=Seconds(listing=0, images=0, probes=0, total=0),
        )

    return make
