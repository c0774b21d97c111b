"""Which runs and checkpoints make an ensemble."""

from __future__ import annotations

import pytest

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.techniques.ensembling import Checkpoints, CrossValidation, Origin, Seeds

TRAINED = Origin(seed=2**32 - 2, lr=0.01, probed=None, places=())
PROBED = Origin(seed=0, lr=None, probed=("b",), places=("a", "b", "pooled"))


def test_seeds_go_on_from_the_runs_own_and_start_again_at_the_largest() -> None:
    variants = Seeds(members=4).variants(TRAINED)
    assert [variant.edits for variant in variants] == [{"seed": 2**32 - 1}, {"seed": 0}, {"seed": 1}]
    assert len({variant.name for variant in variants}) == 3


def test_other_rates_but_not_the_one_that_is_there() -> None:
    edits = [variant.edits["optimizer.lr"] for variant in CrossValidation(rates=(0.3, 1, 3)).variants(TRAINED)]
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


@pytest.mark.parametrize("kind", ["seeds", "checkpoints"])
@pytest.mark.parametrize("probe", ["linear_probe", "stage_probe"])
def test_members_of_a_convex_probe_would_be_identical(kind: str, probe: str) -> None:
    with pytest.raises(RecipeError, match="is a convex fit: it ends in the same classifier from every start"):
        load_recipe(probe, [f"ensemble.kind={kind}"])


def test_a_probe_can_be_fitted_elsewhere() -> None:
    assert load_recipe("stage_probe", ["ensemble.kind=cross_validation"]).ensemble is not None
