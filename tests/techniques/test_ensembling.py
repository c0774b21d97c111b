"""Which runs, moments and looks make an ensemble."""

from __future__ import annotations

import pytest

from finetune_advisor.artifacts.recipe_file import load_recipe
from finetune_advisor.errors import RecipeError
from finetune_advisor.techniques.ensembling import (
    Checkpoints,
    CrossValidation,
    MultiScale,
    Origin,
    Seeds,
    Soup,
    TenCrop,
)

TRAINED = Origin(seed=2**32 - 2, lr=0.01, probed=None, places=())
PROBED = Origin(seed=0, lr=None, probed=("b",), places=("a", "b", "pooled"))


def test_seeds_go_on_from_the_runs_own_and_start_again_at_the_largest() -> None:
    variants = Seeds(members=4).variants(TRAINED)
    assert [variant.edits for variant in variants] == [{"seed": 2**32 - 1}, {"seed": 0}, {"seed": 1}]
    assert len({variant.name for variant in variants}) == 3


@pytest.mark.parametrize("technique", [CrossValidation(rates=(0.3, 1, 3)), Soup(rates=(0.3, 1, 3))])
def test_other_rates_but_not_the_one_that_is_there(technique: CrossValidation | Soup) -> None:
    edits = [variant.edits["optimizer.lr"] for variant in technique.variants(TRAINED)]
    assert edits == pytest.approx([0.003, 0.03])


def test_a_probe_is_tried_everywhere_else_and_at_all_places() -> None:
    edits = [variant.edits["strategy.stages"] for variant in CrossValidation().variants(PROBED)]
    assert edits == [("a",), ("pooled",), ("a", "b", "pooled")]


@pytest.mark.parametrize(
    ("technique", "evaluations", "cycles", "kept"),
    [
        (Checkpoints(members=3), 12, 4, {6, 9, 12}),
        (Checkpoints(members=8), 12, 4, {3, 6, 9, 12}),
        (Checkpoints(members=4, start=0.5), 8, None, {5, 6, 7, 8}),
        (Checkpoints(members=2, start=0.0), 8, None, {4, 8}),
        (Checkpoints(members=5), 1, None, {1}),
    ],
)
def test_moments_are_the_ends_of_cycles_or_spread_evenly(
    technique: Checkpoints, evaluations: int, cycles: int | None, kept: set[int]
) -> None:
    assert technique.snapshots(evaluations, cycles) == kept


def test_ten_crops_lie_in_the_corners_and_the_center_of_the_image() -> None:
    looks = TenCrop().looks(224)
    assert looks.side == 256 and len(looks.looks) == 10
    assert {(look.top, look.left) for look in looks.looks} == {(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)}
    assert all(look.side == 224 for look in looks.looks)
    assert sum(look.mirrored for look in looks.looks) == 5
    assert len(TenCrop(mirrored=False).looks(224).looks) == 5


def test_scales_share_a_center_and_the_smallest_part_is_as_large_as_the_network_wants() -> None:
    looks = MultiScale(mirrored=False).looks(96)
    assert looks.side == 128
    assert [tuple(look) for look in looks.looks] == [(16, 16, 96, False), (8, 8, 112, False), (0, 0, 128, False)]
    assert len(MultiScale().looks(96).looks) == 6


@pytest.mark.parametrize("kind", ["seeds", "checkpoints", "soup"])
@pytest.mark.parametrize("probe", ["linear_probe", "stage_probe"])
def test_members_of_a_convex_probe_would_be_identical(kind: str, probe: str) -> None:
    with pytest.raises(RecipeError, match="is a convex fit: it ends in the same classifier from every start"):
        load_recipe(probe, [f"ensemble.kind={kind}"])


@pytest.mark.parametrize("kind", ["cross_validation", "ten_crop", "multi_scale"])
def test_a_probe_can_be_asked_elsewhere_and_more_than_once(kind: str) -> None:
    assert load_recipe("stage_probe", [f"ensemble.kind={kind}"]).ensemble is not None
