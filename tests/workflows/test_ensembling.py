"""Runs become one model that is used like a run.

Shapes: M members, N images, K classes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune_advisor.errors import Interrupted, RecipeError, RunError
from finetune_advisor.inference.predictor import Predictor, evaluate_on
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.ensemble import Ensemble, ExportForm
from finetune_advisor.records.predictions import Answers, load_answers, save_answers
from finetune_advisor.records.rundir import RunDir
from finetune_advisor.techniques.ensembling import Checkpoints, CrossValidation, Seeds
from finetune_advisor.training.trainer import train
from finetune_advisor.workflows import parallel as many
from finetune_advisor.workflows.ensemble import ensemble
from finetune_advisor.workflows.export import export

COLORS = {"ants": (150, 100, 100), "bees": (100, 150, 100)}
TINY = ("backbone.name=mobilenetv3_small_050", "backbone.weights=random", "preprocessing.size=32", "runtime.workers=0")
ONE_FIT = ("strategy.stages=[pooled]", "strategy.strengths=[0.001]", "strategy.folds=2")
SHORT = ("budget.epochs=2", "optimizer.batch=8", "strategy.cached_views=null", "optimizer.lr=0.01")


def write_images(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 5), ("test", 6)):
        for name, color in COLORS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                noise_HWC = rng.normal(color, 60.0, (32, 40, 3))
                Image.fromarray(noise_HWC.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs to start from: `short`, of trained layers, and `probe`."""
    folder = tmp_path_factory.mktemp("ensembling")
    data = write_images(folder / "images")
    train(load_recipe("few_layers", [f"data.path={data}", *TINY, *SHORT]), RunDir(folder / "short"))
    train(load_recipe("stage_probe", [f"data.path={data}", *TINY, *ONE_FIT]), RunDir(folder / "probe"))
    return folder


@pytest.fixture(scope="module")
def seeds(base: Path) -> RunDir:
    return ensemble([RunDir(base / "short")], Seeds(members=2))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained."""
    names: list[str] = []

    def counting(recipe: Recipe, run: RunDir, **settings: Any) -> RunDir:
        names.append(run.path.name)
        return train(recipe, run, **settings)

    monkeypatch.setattr(many, "train", counting)
    return names


def test_seeds_are_trained_on_the_same_split_and_their_answers_averaged(base: Path, seeds: RunDir) -> None:
    assert seeds.path == base / "short-seeds"
    member = RunDir(seeds.members / "seed-1")
    assert load_recipe(member.recipe).seed == 1
    assert member.splits.read_text() == RunDir(base / "short").splits.read_text()
    images = sorted((base / "images" / "test").rglob("*.png"))
    parts = [Predictor.open(run).probabilities(images, workers=0) for run in (RunDir(base / "short"), member)]
    np.testing.assert_allclose(Predictor.open(seeds).probabilities(images, workers=0), sum(parts) / 2, atol=1e-5)


def test_the_gain_is_measured_on_test_images_beside_the_member_that_held_out_images_prefer(
    base: Path, seeds: RunDir
) -> None:
    found = Ensemble.load(seeds.ensemble)
    assert (found.held_out, [member.weight for member in found.members]) == (10, [0.5, 0.5])
    runs = {"short": RunDir(base / "short"), "seed-1": RunDir(seeds.members / "seed-1")}
    order = sorted(found.members, key=lambda member: (-member.accuracy, member.log_loss))
    assert found.gain.best == order[0].name and (found.gain.split, found.gain.images) == ("test", 12)
    assert found.gain.best_accuracy == runs[order[0].name].load_metrics()["test"]["accuracy"]
    metrics = seeds.load_metrics()
    assert found.gain.accuracy == metrics["test"]["accuracy"]
    assert found.gain.gain == pytest.approx(found.gain.accuracy - found.gain.best_accuracy)
    assert found.gain.low <= found.gain.gain <= found.gain.high
    assert found.cost.times == pytest.approx(found.cost.seconds / found.cost.best_seconds)
    assert metrics["val"]["images"] == 10
    assert metrics["seconds"].keys() == runs["short"].load_metrics()["seconds"].keys()
    assert seeds.environment.is_file()


def test_an_ensemble_is_used_like_a_run(base: Path, seeds: RunDir) -> None:
    assert evaluate_on(seeds, base / "images")["accuracy"] == seeds.load_metrics()["test"]["accuracy"]
    done = export(seeds, ExportForm.hub, out=base / "exported")
    assert done.real and done.same_class == done.images == 12
    assert done.onnx is not None and done.onnx.is_file()
    assert "An ensemble (`seeds`)" in (done.path / "README.md").read_text()


def test_asked_again_nothing_is_trained_and_other_settings_are_refused(
    base: Path, seeds: RunDir, trained: list[str]
) -> None:
    before = seeds.metrics.stat().st_mtime_ns
    assert ensemble([RunDir(base / "short")], Seeds(members=2)) == seeds
    assert trained == [] and seeds.metrics.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="holds another ensemble"):
        ensemble([RunDir(base / "short")], Seeds(members=3))


def test_a_killed_ensemble_goes_on_where_it_was(
    base: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second member is interrupted in its training; the first one is not trained again."""
    out = RunDir(tmp_path / "out")
    count: Callable[..., RunDir] = vars(many)["train"]  # as `trained` has left it

    def interrupted(recipe: Recipe, run: RunDir, **settings: Any) -> RunDir:
        if run.path.name == "seed-2" and not settings.get("resume"):
            count(recipe, run, **settings)
            run.metrics.unlink()
            raise KeyboardInterrupt
        return count(recipe, run, **settings)

    monkeypatch.setattr(many, "train", interrupted)
    with pytest.raises(Interrupted, match="members that are trained are kept") as caught:
        ensemble([RunDir(base / "short")], Seeds(members=3), out)
    assert caught.value.hint == "The same command again goes on."
    with pytest.raises(RunError, match=r"The ensemble in .* has not finished"):
        Predictor.open(out)
    assert ensemble([RunDir(base / "short")], Seeds(members=3), out).finished
    assert trained == ["seed-1", "seed-2", "seed-2"]


def test_several_runs_are_the_members_and_nothing_is_trained(
    base: Path, seeds: RunDir, tmp_path: Path, trained: list[str]
) -> None:
    runs = [RunDir(base / "short"), RunDir(seeds.members / "seed-1"), RunDir(base / "probe")]
    found = Ensemble.load(ensemble(runs, CrossValidation(members=2), RunDir(tmp_path / "out")).ensemble)
    assert trained == [] and len(found.members) == 3
    assert 1 <= sum(member.weight > 0 for member in found.members) <= 2
    assert sum(member.weight for member in found.members) == pytest.approx(1)
    assert found.held_out == 10, "the probe's answers out of fold, on the validation images of the others"


def test_a_probe_is_cross_validated_at_every_stage(base: Path, tmp_path: Path, trained: list[str]) -> None:
    out = ensemble([RunDir(base / "probe")], CrossValidation(members=3), RunDir(tmp_path / "out"))
    found = Ensemble.load(out.ensemble)
    assert "at-all" in trained and "at-stem" in trained and "at-pooled" not in trained
    assert len(found.members) == len(trained) + 1 and sum(member.weight > 0 for member in found.members) <= 3
    val = out.load_metrics()["val"]
    assert (val["images"], found.held_out) == (30, 30), "out of fold: training and validation images"
    chosen = [member for member in found.members if member.weight]
    assert json.loads((out.model / "config.json").read_text())["architecture"] == "finetune_advisor_shared_probes"
    assert val["log_loss"] <= min(member.log_loss for member in chosen) + 1e-6


def test_checkpoints_are_moments_of_one_run_with_a_cyclic_rate(base: Path, tmp_path: Path, trained: list[str]) -> None:
    out = ensemble([RunDir(base / "short")], Checkpoints(members=2), RunDir(tmp_path / "out"))
    run = RunDir(out.members / "run")
    assert trained == ["run"]
    recipe = load_recipe(run.recipe)
    assert recipe.schedule is not None and recipe.schedule.model_dump()["cycles"] == 2
    assert [path.name for path in sorted(run.snapshots.iterdir())] == ["step-3.safetensors", "step-6.safetensors"]
    found = Ensemble.load(out.ensemble)
    assert [member.name for member in found.members] == ["step-3", "step-6"]
    again = ensemble([run], Checkpoints(members=2), RunDir(tmp_path / "again"))
    assert trained == ["run"], "a run that kept its moments is not trained again"
    assert Ensemble.load(again.ensemble).members[0].accuracy == found.members[0].accuracy


def test_a_run_too_short_for_checkpoints_is_refused_before_it_is_trained_again(
    base: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = RunDir(base / "short").load_history()
    monkeypatch.setattr(RunDir, "load_history", lambda _: history[:1])
    with pytest.raises(RunError, match="The same recipe would keep 1 checkpoint on its way, expected at least 2"):
        ensemble([RunDir(base / "short")], Checkpoints(members=2), RunDir(tmp_path / "out"))
    assert trained == []


def test_without_test_images_the_gain_is_that_on_held_out_ones_and_said_to_be_too_good(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = shutil.copytree(base / "images", tmp_path / "images", ignore=lambda folder, names: {"test"} & set(names))
    run = train(load_recipe("stage_probe", [f"data.path={data}", *TINY, *ONE_FIT]), RunDir(tmp_path / "run"))
    out = ensemble([run], CrossValidation())
    assert "too good" in caplog.text
    found, metrics = Ensemble.load(out.ensemble), out.load_metrics()
    assert (found.gain.split, found.gain.images, metrics["test"]) == ("val", 30, None)
    assert found.gain.accuracy == metrics["val"]["accuracy"]


def test_members_with_different_classes(base: Path, tmp_path: Path) -> None:
    other = RunDir(shutil.copytree(base / "short", tmp_path / "other"))
    mine = load_answers(other.held_out)
    save_answers(other.held_out, Answers(mine.names, ("ants", "wasps"), mine.labels_N, mine.probabilities_NK))
    with pytest.raises(RunError, match="have different classes: only one of them knows bees, wasps"):
        ensemble([RunDir(base / "short"), other], Seeds(), RunDir(tmp_path / "out"))


def test_members_that_share_no_held_out_images(base: Path, tmp_path: Path) -> None:
    other = RunDir(shutil.copytree(base / "short", tmp_path / "other"))
    mine = load_answers(other.held_out)
    names = tuple(f"other/{name}" for name in mine.names)
    save_answers(other.held_out, Answers(names, mine.classes, mine.labels_N, mine.probabilities_NK))
    with pytest.raises(RunError, match="share 0 held-out images"):
        ensemble([RunDir(base / "short"), other], Seeds(), RunDir(tmp_path / "out"))


def unfinished(run: RunDir) -> None:
    run.metrics.unlink()


def of_an_older_version(run: RunDir) -> None:
    run.held_out.unlink()


def damaged(run: RunDir) -> None:
    run.held_out.write_text("path,label,ants\nx.png,bees,1\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(unfinished, "has not finished"), (of_an_older_version, "has no answers on held-out"), (damaged, "is damaged")],
)
def test_a_run_that_cannot_be_a_member(base: Path, tmp_path: Path, spoil: Callable[[RunDir], None], says: str) -> None:
    other = RunDir(shutil.copytree(base / "short", tmp_path / "other"))
    spoil(other)
    with pytest.raises(RunError, match=says):
        ensemble([RunDir(base / "short"), other], Seeds(), RunDir(tmp_path / "out"))


def test_seeds_of_a_probe_would_be_identical(base: Path) -> None:
    with pytest.raises(RecipeError, match="would be identical"):
        ensemble([RunDir(base / "probe")], Seeds())


def test_a_run_is_a_member_once(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="named twice"):
        ensemble([RunDir(base / "short"), RunDir(base / "probe" / ".." / "short")], Seeds(), RunDir(tmp_path / "out"))


def test_checkpoints_are_of_one_run(base: Path, tmp_path: Path) -> None:
    runs = [RunDir(base / "short"), RunDir(base / "probe")]
    with pytest.raises(RunError, match="is made of one run, 2 are given"):
        ensemble(runs, Checkpoints(), RunDir(tmp_path / "out"))
