"""How much of the network is trained, and what its classifier starts from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from finetune_advisor.advice.advise import advise
from finetune_advisor.records.profile import Profile
from finetune_advisor.techniques.strategy import FewLayers, ManyLayers

MakeProfile = Callable[..., Profile]
Probes = Callable[..., dict[str, tuple[float, float]]]

STAGES = ("stem", *(f"blocks.{number}" for number in range(7)))


@pytest.mark.parametrize(
    ("accuracies", "stages"),
    [
        ((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95), 3),  # every stage adds: as shipped
        ((0.3, 0.4, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9), 4),  # nothing is gained after blocks.2
        ((0.3, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9), 4),  # never more than half
        ((0.3, 0.4, 0.5, 0.89, 0.9, 0.9, 0.895, 0.893), 4),  # the noise of folds does not count
        ((0.3, 0.4, 0.5, 0.8, 0.9, 0.7, 0.6, 0.5), 3),  # the best is in the middle
    ],
)
def test_the_stages_that_bring_nothing_are_trained(
    make_profile: MakeProfile, stage_probes: Probes, accuracies: tuple[float, ...], stages: int
) -> None:
    advice = advise(make_profile(probes=stage_probes(*accuracies)), strategy="few_layers")
    assert isinstance(advice.recipe.strategy, FewLayers)
    assert advice.recipe.strategy.stages == stages


@pytest.mark.parametrize(
    ("per_class", "scores", "frozen"),
    [
        (300, (0.5, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95), 4),  # at least half of the network is trained
        (300, (0.2, 0.95, 0.95, 0.95, 0.3, 0.3, 0.3, 0.3), 4),  # the first stage does not count
        (300, (0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), 3),  # different early, and not enough images to change that
        (5000, (0.2, 0.3, 0.95, 0.95, 0.3, 0.3, 0.3, 0.3), 1),
        (5000, (0.95, 0.95, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), 2),
    ],
)
def test_early_stages_stay_frozen_as_far_as_they_see_imagenet(
    make_profile: MakeProfile, stage_probes: Probes, per_class: int, scores: tuple[float, ...], frozen: int
) -> None:
    profile = make_profile(
        per_class=per_class,
        score=0.4,
        probes=stage_probes(*(0.1 * number for number in range(1, 9))),
        stages=dict(zip(STAGES, scores, strict=True)),
    )
    advice = advise(profile, strategy="many_layers")
    assert isinstance(advice.recipe.strategy, ManyLayers)
    assert advice.recipe.strategy.frozen_stages == frozen


@pytest.mark.parametrize("count", range(1, 9))
def test_a_network_of_few_stages_gets_numbers_that_it_has(make_profile: MakeProfile, count: int) -> None:
    """The ruler has eight stages whatever network is trained."""
    probes = dict.fromkeys((*STAGES[:count], "pooled", "all"), (0.8, 0.4))
    profile = make_profile(score=0.4, probes=probes, stages=dict.fromkeys(STAGES, 0.9))
    few, many = (advise(profile, strategy=cell).recipe.strategy for cell in ("few_layers", "many_layers"))
    names = (*STAGES[:count], "head")
    assert few.trainable(names) and many.trainable(names)


@pytest.mark.parametrize(("per_class", "kind"), [(20, "probe"), (49, "probe"), (50, "zeros"), (9000, "zeros")])
def test_few_images_start_from_a_fitted_classifier(make_profile: MakeProfile, per_class: int, kind: str) -> None:
    advice = advise(make_profile(per_class=per_class), strategy="few_layers")
    assert advice.recipe.head is not None and advice.recipe.head.initialization.kind == kind
    assert f"{per_class:,} images per class" in advice.reasons["head.initialization"]
