"""Each sign is seen on curves of its kind and not on others; the seeds are not those that thresholds were chosen on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetune_advisor.diagnosis.curves import Case, WeightFacts
from finetune_advisor.diagnosis.diagnose import findings
from finetune_advisor.recipes.load import change_recipe
from tests.diagnosis.made_up import KINDS, made_up

SEEDS = range(1000, 1030)


def first_sign(case: Case) -> str | None:
    return next((found.sign for found in findings(case)), None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "healthy"])
def test_the_right_sign_comes_first(kind: str) -> None:
    expected = KINDS[kind][1]
    signs = [first_sign(made_up(kind, seed)) for seed in SEEDS]
    assert sum(sign == expected for sign in signs) >= 0.9 * len(signs), signs


def test_healthy_curves_raise_no_alarm() -> None:
    signs = [first_sign(made_up("healthy", seed)) for seed in range(1000, 1100)]
    assert sum(sign is not None for sign in signs) <= 0.05 * len(signs), signs


@pytest.mark.parametrize("refit", [False, True])
def test_every_edit_leads_to_a_recipe_that_can_be_used(refit: bool) -> None:
    for kind in KINDS:
        case = made_up(kind, 1000)
        case = replace(case, recipe=change_recipe(case.recipe, {"evaluation.refit": refit}))
        for finding in findings(case):
            edited = change_recipe(case.recipe, {edit.key: edit.value for edit in finding.edits})
            assert edited != case.recipe, finding


def test_augmentation_against_overfitting_ends_the_one_cached_view() -> None:
    """Kept, it would be the same crop of every image in every epoch."""
    case = made_up("overfitted", 1000)
    for views in (1, None):
        edits = {"augmentation": None, "strategy.cached_views": views}
        found = next(findings(replace(case, recipe=change_recipe(case.recipe, edits))))
        proposed = {edit.key: edit.value for edit in found.edits}
        assert found.sign == "overfitting" and proposed["augmentation"]
        if views is None:
            assert "strategy.cached_views" not in proposed
        else:
            assert proposed["strategy.cached_views"] is None


@pytest.fixture
def healthy() -> Case:
    case = made_up("healthy", 1001)
    assert first_sign(case) is None
    return case


def seen(case: Case) -> list[str]:
    return [found.sign for found in findings(case)]


def test_a_loss_that_is_no_number_ends_the_reading(healthy: Case) -> None:
    *first, last = healthy.records
    for broken in (replace(last, train_loss=None), replace(last, val_loss=float("nan"))):
        assert seen(replace(healthy, records=(*first, broken))) == ["rate_too_high"]
    assert seen(replace(healthy, records=(replace(first[0], train_loss=None),))) == ["rate_too_high"]


def test_the_new_rate_follows_from_the_size_of_the_steps(healthy: Case) -> None:
    def rate(ratio: float) -> float:
        records = tuple(
            replace(record, train_loss=5 * healthy.chance_loss, update_ratio={"body": ratio})
            for record in healthy.records
        )
        [finding] = [found for found in findings(replace(healthy, records=records)) if found.sign == "rate_too_high"]
        return float(finding.edits[0].value)

    before = healthy.recipe.optimizer
    assert before is not None and before.lr == 0.003
    assert rate(0.1) == pytest.approx(3e-5, rel=0.5)
    assert rate(0.02) == pytest.approx(2e-4, rel=0.5)


def test_a_first_epoch_above_chance_is_not_yet_an_explosion(healthy: Case) -> None:
    first = healthy.records[0]
    slightly, far = (replace(first, train_loss=times * healthy.chance_loss) for times in (1.6, 5.0))
    assert seen(replace(healthy, records=(slightly,))) == ["too_few_evaluations"]
    assert seen(replace(healthy, records=(far,))) == ["rate_too_high"]


def test_a_jump_that_did_no_harm_is_no_alarm(healthy: Case) -> None:
    losses = [0.9, 0.6, 0.3, 0.1, 0.25, 0.5, 0.2, 0.05, 0.02, 0.01, 0.01, 0.01]
    records = tuple(
        replace(healthy.records[0], epoch=float(at + 1), train_loss=loss * healthy.chance_loss, train_accuracy=0.95)
        for at, loss in enumerate(losses)
    )
    assert "rate_too_high" not in seen(replace(healthy, records=records))


@pytest.mark.parametrize(
    ("facts", "sign"),
    [
        (WeightFacts(dead=0.4, dead_before=0.05, images=32), "dead_units"),
        (WeightFacts(dead=0.4, dead_before=0.39, images=32), None),
        (WeightFacts(roughness=0.6, roughness_before=0.2), "noisy_filters"),
        (WeightFacts(roughness=0.22, roughness_before=0.2), None),
    ],
)
def test_weights_are_judged_by_what_they_were(healthy: Case, facts: WeightFacts, sign: str | None) -> None:
    assert seen(replace(healthy, weights=facts)) == ([sign] if sign else [])


def test_filters_that_started_as_noise_are_noisy_as_long_as_they_look_like_it(healthy: Case) -> None:
    recipe = change_recipe(healthy.recipe, {"backbone.weights": "random"})
    noise, smooth = (WeightFacts(roughness=rough, roughness_before=1.0) for rough in (0.95, 0.3))
    assert seen(replace(healthy, recipe=recipe, weights=noise)) == ["noisy_filters"]
    assert seen(replace(healthy, recipe=recipe, weights=smooth)) == []


@pytest.mark.parametrize(("ratio", "sign"), [(0.05, "large_updates"), (2e-5, "small_updates"), (1e-3, None)])
def test_steps_are_judged_by_the_weights_they_move(healthy: Case, ratio: float, sign: str | None) -> None:
    updates = {"head": 0.5, "body": ratio}
    records = tuple(replace(record, update_ratio=updates) for record in healthy.records)
    assert seen(replace(healthy, records=records)) == ([sign] if sign else [])


def test_a_step_that_moved_nothing_says_nothing_of_the_rate(healthy: Case) -> None:
    records = tuple(replace(record, update_ratio={"body": 0.0}) for record in healthy.records)
    assert seen(replace(healthy, records=records, val=None)) == []
    crawling = made_up("crawling", SEEDS[0])
    records = tuple(replace(record, update_ratio={"body": 0.0}) for record in crawling.records)
    assert seen(replace(crawling, records=records))[0] == "rate_too_low"


def test_a_class_that_is_never_named_is_named_here(healthy: Case) -> None:
    case = replace(healthy, classes=("ants", "bees"), val={"confusion": [[9, 0], [4, 0]]})
    [finding] = [found for found in findings(case) if found.sign == "never_predicted"]
    assert finding.names == ("bees",) and finding.figures["images"] == 4
    assert [edit.key for edit in finding.edits] == ["data.class_weights", "evaluation.metric"]
    few = replace(case, val={"confusion": [[9, 0], [2, 0]]})
    assert "never_predicted" not in seen(few), "two images say little"


def test_doubtful_labels_are_for_a_person(healthy: Case) -> None:
    [finding] = findings(replace(healthy, suspects=tuple(f"{n}.jpg" for n in range(30))))
    assert finding.sign == "label_suspects" and finding.edits == () and len(finding.names) == 20


def test_no_gap_frees_more_layers_until_all_train() -> None:
    case = made_up("underfitted", 1002)
    steps = []
    for _ in range(3):
        [finding] = [found for found in findings(case) if found.sign == "underfitting"]
        case = replace(case, recipe=change_recipe(case.recipe, {edit.key: edit.value for edit in finding.edits}))
        steps.append((case.recipe.strategy.kind, getattr(case.recipe.strategy, "stages", None)))
    assert steps == [("few_layers", 5), ("all_layers", None), ("all_layers", None)]
    assert case.recipe.regularization is None
