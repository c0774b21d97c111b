"""The second training of a run, whose network is the model, is looked at beside the first one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.diagnosis.curves import Case
from finetune_advisor.diagnosis.diagnose import diagnose, findings
from finetune_advisor.diagnosis.fit_signs import refit_told
from finetune_advisor.recipes.load import change_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.history import Record, save_history
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from tests.diagnosis.made_up import made_up

HEALTHY_SEEDS = range(900, 930)


def again(case: Case, *, above: float = 0.0) -> Case:
    """The case with a second training, whose loss is higher by so much of the way down from chance."""
    raised = above * (case.chance_loss - case.lowest_loss)
    refit = tuple(
        replace(record, train_loss=(record.train_loss or 0.0) + raised, val_loss=None, val_accuracy=None)
        for record in case.records
    )
    return replace(case, recipe=change_recipe(case.recipe, {"evaluation.refit": True}), refit=refit)


def signs(case: Case) -> list[str]:
    return [finding.sign for finding in findings(case)]


def test_a_second_training_like_the_first_is_told_and_no_finding() -> None:
    for seed in HEALTHY_SEEDS:
        case = again(made_up("healthy", seed), above=0.1)
        assert "refit_astray" not in signs(case)
    told = refit_told(case)
    assert told is not None and told.startswith("The curves are of the training that was scored")
    assert f"its training loss is {case.refit[-1].train_loss:.3g}" in told
    assert refit_told(made_up("healthy", 900)) is None, "of a run with one training nothing is said"


def test_a_second_training_that_ends_far_above_is_the_first_finding() -> None:
    case = again(made_up("overfitted", 901), above=0.4)
    found = list(findings(case))
    assert [finding.sign for finding in found][:2] == ["refit_astray", "overfitting"]
    assert found[0].evidence.startswith("its training loss ends at ")
    assert case.recipe.optimizer is not None and found[0].edits[0].key == "optimizer.lr"
    assert found[0].edits[0].value < case.recipe.optimizer.lr
    assert "refit_astray" not in signs(replace(case, val=None)), "on its way it may well be above"


@pytest.mark.parametrize(
    ("events", "evidence"),
    [
        (("The loss is nan at step 9. Images of that batch: a.png.",), "The loss is nan at step 9"),
        ((), "The loss is no number at step 9"),
    ],
)
def test_a_second_training_that_broke_down_is_a_finding(events: tuple[str, ...], evidence: str) -> None:
    case = again(made_up("healthy", 902))
    broken = Record(9, 1.0, None, None, None, None, None, None, 0.0, events=events)
    case = replace(case, val=None, refit=(*case.refit[:3], broken))
    found = list(findings(case))
    assert found[0].sign == "refit_astray" and found[0].evidence == evidence
    assert str(refit_told(case)).endswith("which broke down.")


def test_the_folder_of_a_run_that_was_trained_again_is_read(short_recipe: Recipe, tmp_path: Path) -> None:
    run = train(change_recipe(short_recipe, {"evaluation.refit": True}), RunDir(tmp_path / "again"))
    diagnosis = diagnose(run)
    assert diagnosis.refit is not None and "the first time" in diagnosis.refit and not diagnosis.unseen
    [record] = run.refit.load_history()
    save_history(run.refit.history, [replace(record, train_loss=9.0)])
    assert "refit_astray" in [finding.sign for finding in diagnose(run).findings]
    run.metrics.unlink()
    assert str(diagnose(run).refit).endswith("which is at epoch 1 of 1.")
    run.refit.history.unlink()
    assert str(diagnose(run).refit).endswith("on validation images too.")


def test_a_second_training_that_left_no_history_is_named(short_recipe: Recipe, tmp_path: Path) -> None:
    run = train(change_recipe(short_recipe, {"evaluation.refit": True}), RunDir(tmp_path / "again"))
    run.refit.history.unlink()
    assert diagnose(run).unseen == ("the training on all images: refit/history.jsonl is missing or empty",)
