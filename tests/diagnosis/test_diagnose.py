"""A run's folder is read, finished or not, and what is missing is told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune_advisor.diagnosis.diagnose import diagnose, edited_recipe
from finetune_advisor.diagnosis.network_signs import alive_units, dead_share, filter_roughness
from finetune_advisor.errors import DataError, RecipeError, RunError
from finetune_advisor.recipes.load import change_recipe, dump_recipe, load_recipe
from finetune_advisor.records.diagnosis import Diagnosis
from finetune_advisor.records.history import save_history
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.training.trainer import train
from finetune_advisor.workflows.report import diagnose_run
from tests.conftest import ImageFolder

TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")


def test_a_short_run_is_told_to_train_longer(short_run: RunDir, tmp_path: Path) -> None:
    diagnosis = diagnose_run(short_run)
    assert diagnosis.findings[0].sign == "too_few_evaluations" and diagnosis.finished
    assert Diagnosis.load(short_run.diagnosis) == diagnosis
    text = edited_recipe(short_run, diagnosis)
    assert "# 1 before: the loss was still falling" in text
    better = tmp_path / "better.yaml"
    better.write_text(text)
    budget = load_recipe(better).budget
    assert budget is not None and budget.epochs == 8


def test_a_run_that_broke_down_is_read_as_far_as_it_came(short_run: RunDir) -> None:
    [record] = short_run.load_history()
    broken = replace(
        record, step=9, train_loss=float("nan"), events=("The loss is nan at step 9. Images of that batch: a.png.",)
    )
    save_history(short_run.history, [record, broken])
    short_run.metrics.unlink()
    diagnosis = diagnose(short_run)
    assert not diagnosis.finished and diagnosis.findings[0].sign == "rate_too_high"
    assert diagnosis.findings[0].evidence == "The loss is nan at step 9"
    assert any("has not finished" in reason for reason in diagnosis.unseen)


def test_a_run_that_ends_in_no_number_leaves_what_its_diagnosis_needs(
    image_folder: ImageFolder, tmp_path: Path
) -> None:
    data = image_folder({"ants": 8, "bees": 8})
    settings = [f"data.path={data}", *TINY, "optimizer.lr=1e30", "runtime.retries=0", "strategy.cached_views=null"]
    run = RunDir(tmp_path / "run")
    with pytest.raises(RunError, match=r"(at|after) step \d+") as refusal:
        train(load_recipe("few_layers", settings), run)
    assert f"diagnose {run.path} --apply" in str(refusal.value)
    finding = diagnose(run).findings[0]
    assert finding.sign == "rate_too_high" and "step" in finding.evidence
    assert finding.edits[0].key == "optimizer.lr" and finding.edits[0].value < 1e30


def test_a_history_with_nan_written_in_it_is_read(short_run: RunDir) -> None:
    short_run.history.write_text(short_run.history.read_text().replace('"train_loss": ', '"train_loss": NaN, "was": '))
    assert diagnose(short_run).findings[0].sign == "rate_too_high"


def test_what_is_missing_is_named(short_run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no run folder .*nothing"):
        diagnose(RunDir(tmp_path / "nothing"))
    with pytest.raises(RunError, match=r"is no run: it holds no recipe\.yaml"):
        diagnose(RunDir(tmp_path))
    shutil.rmtree(short_run.model)
    unseen = diagnose(short_run).unseen
    assert len(unseen) == 1 and unseen[0].startswith("the weights: ")
    short_run.history.unlink()
    diagnosis = diagnose(short_run)
    assert any("history.jsonl is missing" in reason for reason in diagnosis.unseen)
    short_run.metrics.unlink()
    with pytest.raises(RunError, match="holds no evaluation yet"):
        diagnose(short_run)
    save_history(short_run.history, [])
    short_run.recipe.write_text("name: [")
    with pytest.raises(RecipeError, match="not YAML"):
        diagnose(short_run)


def test_an_unfinished_run_without_its_splits_is_refused(short_run: RunDir) -> None:
    short_run.metrics.unlink()
    short_run.splits.unlink()
    with pytest.raises(DataError, match=r"splits\.csv cannot be read"):
        diagnose(short_run)


def test_a_healthy_run_needs_no_edit(short_run: RunDir) -> None:
    healthy = Diagnosis(run="run", finished=True, healthy="Nothing to mend.", findings=())
    with pytest.raises(RunError, match=r"Nothing in the recipe of .* needs an edit: Nothing to mend"):
        edited_recipe(short_run, healthy)


@pytest.mark.parametrize(
    ("budget", "reached"),
    [
        ({"budget.epochs": 20}, "epoch 3 of 20"),
        ({"budget.steps": 4000, "budget.epochs": None}, "step 1,200 of 4,000"),
        ({"budget.minutes": 10, "budget.epochs": None}, "epoch 3, with 10.0 minutes in all"),
    ],
)
def test_a_healthy_run_on_its_way_says_how_far_it_is(
    short_run: RunDir, budget: dict[str, object], reached: str
) -> None:
    [record] = short_run.load_history()
    save_history(
        short_run.history,
        [
            replace(record, step=400 * epoch, epoch=float(epoch), train_loss=loss, train_accuracy=1.0, val_accuracy=1.0)
            for epoch, loss in ((1, 0.5), (2, 0.3), (3, 0.25))
        ],
    )
    short_run.recipe.write_text(dump_recipe(change_recipe(load_recipe(short_run.recipe), budget)))
    assert diagnose(short_run).healthy.endswith("in the end.")
    short_run.metrics.unlink()
    diagnosis = diagnose(short_run)
    assert diagnosis.verdict.startswith("Nothing to mend: accuracy 1.000 on training images")
    assert diagnosis.verdict.endswith(f" so far, at {reached}.")


def test_noise_is_rough_and_a_ramp_is_smooth() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, 3, 7, 7, generator=generator)
    assert filter_roughness(noise) == pytest.approx(1.0, abs=0.05)
    ramp = torch.linspace(-1, 1, 7).expand(4, 3, 7, 7)
    jump, variance = (2 / 6) ** 2, float(torch.linspace(-1, 1, 7).expand(7, 7).var())
    assert filter_roughness(ramp) == pytest.approx(jump / 4 / variance, rel=1e-5)


def test_units_that_answer_to_nothing_are_counted() -> None:
    linear = torch.nn.Linear(2, 4)
    net = torch.nn.Sequential(linear, torch.nn.ReLU())
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([1.0, -1.0, -1.0, -1.0]))
        linear.weight[1, 0] = 2.0
        with alive_units(net) as alive:
            net(torch.tensor([[0.0, 0.0]]))
            assert dead_share(alive) == 0.75
            net(torch.tensor([[1.0, 0.0]]))
            assert dead_share(alive) == 0.5
    assert dead_share({}) is None
