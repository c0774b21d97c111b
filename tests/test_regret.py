"""The figures of benchmarks/regret.py, on lines whose answers are known, and the committed ones made again."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finetune_advisor.records.profile import Similarity, Size
from tests.conftest import ImageFolder

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

Load = Callable[[str], ModuleType]
Line = dict[str, Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a script as it finds its neighbors when it is run, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in ("machine", "calibrate") or name.startswith("regret"):
            del sys.modules[name]


def line(task: str, recipe: str, correct: str, *, seed: int = 0, **more: object) -> Line:
    data, _, size = task.partition("/")
    return {
        "task": task,
        "data": data,
        "per_class": int(size),
        "images": 2 * int(size),
        "seed": seed,
        "settings": "small",
        "recipe": recipe,
        "accuracy": correct.count("1") / len(correct),
        "val_accuracy": 0.5,
        "epochs": None,
        "correct": correct,
        "seconds": 4.0,
        "cpu": 2.0,
        "startup": {"seconds": 2.0, "cpu": 1.0},
        "commit": "abc",
        **more,
    }


def analysis(task: str, cell: str, *, seed: int = 0, score: float = 0.9) -> Line:
    size = Size(images=2 * int(task.partition("/")[2]), per_class=5, effective_classes=2, smallest_class=5)
    seen = Similarity(score=score, low=score, high=score, per_stage=(), max_logit=9, entropy=1)
    found = line(task, "analyze", "1", seed=seed)
    found |= {"cell": cell, "confidence": 0.8, "neighbors": {}, "size": size.model_dump()}
    return {**found, "similarity": seen.model_dump()}


def whole(load: Load, task: str, cell: str, correct: dict[str, str], *, seed: int = 0) -> list[Line]:
    """Lines of every recipe for one task; those that are not named recognize half of the images."""
    recipes = load("regret_recipes").RECIPES
    default = "10" * 10
    return [analysis(task, cell, seed=seed)] + [
        line(task, name, correct.get(name, default), seed=seed) for name in recipes
    ]


def test_the_oracle_is_not_flattered_by_luck(load: Load) -> None:
    """Two recipes that are right by turns on either half: the maximum on all images would be worth nothing new."""
    figures = load("regret_figures")
    runs = {name: line("a/5", name, hits) for name, hits in (("few_layers", "1010"), ("all_layers", "0101"))}
    unit = figures.Unit("a/5", "a", 0, analysis("a/5", "few_layers"), runs)
    assert figures.oracle(unit) == 0
    same = figures.Unit("a/5", "a", 0, unit.analysis, {name: line("a/5", name, "1100") for name in runs})
    assert figures.oracle(same) == 0.5


def test_the_best_fixed_recipe_does_not_know_the_data_set(load: Load) -> None:
    figures, good = load("regret_figures"), "1" * 20
    lines = whole(load, "a/5", "few_layers", {"all_layers": good}) + whole(
        load, "b/5", "few_layers", {"autogluon": good}
    )
    units = figures.units_of(lines)
    pick = figures.left_out(units)
    assert {unit.data: pick(unit) for unit in units} == {"a": "autogluon", "b": "all_layers"}


def test_a_difference_within_the_paired_interval_is_a_tie(load: Load) -> None:
    figures = load("regret_figures")
    close, far = {"few_layers": "1" * 11 + "0" * 9}, {"few_layers": "1" * 20}
    for better, verdict in ((close, "tie"), (far, "win")):
        lines = whole(load, "a/5", "few_layers", {"linear_probe": "1" * 10 + "0" * 10, **better})
        units = figures.units_of(lines)
        seen = figures.verdicts(units, lambda _: "few_layers", lambda _: "linear_probe")
        assert seen == {"a/5": verdict}


def test_seeds_are_averaged_and_data_sets_are_what_varies(load: Load) -> None:
    figures = load("regret_figures")
    lines = [
        found
        for task, seed, hits in (
            ("a/5", 0, "1" * 20),
            ("a/5", 1, "0" * 20),
            ("a/20", 0, "10" * 10),
            ("b/5", 0, "1" * 20),
        )
        for found in whole(load, task, "few_layers", {"few_layers": hits}, seed=seed)
    ]
    mean = figures.mean_over_tasks(figures.units_of(lines), lambda unit: unit.accuracy("few_layers"))
    assert mean.value == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert (mean.low, mean.high) == pytest.approx((0.5, 1.0))


def test_the_advisor_is_charged_for_two_processes_and_its_look_at_the_images(load: Load) -> None:
    figures = load("regret_figures")
    lines = whole(load, "a/5", "linear_probe", {})
    for found in lines:
        found["cpu"] = {"analyze": 5.0, "linear_probe": 3.0, "advised/linear_probe": 0.1}.get(found["recipe"], 10.0)
    [unit] = figures.units_of(lines)
    assert figures.advisor_seconds(unit, figures.advised, "cpu") == pytest.approx(1 + 5 + 1 + 3)
    ratios = figures.time_ratios([unit], figures.advised, "cpu")
    assert ratios["fastai"] == pytest.approx(10 / 11)


def test_a_recipe_that_was_not_run_everywhere_is_left_out(load: Load) -> None:
    figures = load("regret_figures")
    lines = whole(load, "a/5", "few_layers", {}) + whole(load, "b/5", "few_layers", {})
    cut = [found for found in lines if (found["task"], found["recipe"]) != ("b/5", "bit_hyperrule")]
    units = figures.units_of(cut)
    assert len(units) == 2
    assert set(load("regret_recipes").RECIPES) - set(figures.recipes_of(units)) == {"bit_hyperrule"}


def test_a_check_at_full_size_is_shown_and_moves_no_figure(load: Load) -> None:
    page, small = load("regret_page"), whole(load, "a/5", "few_layers", {}) + whole(load, "b/5", "few_layers", {})
    large = line("a/124", "few_layers", "1", settings="large")
    before, after = page.figures(small), page.figures([*small, large])
    assert after.pop("full_size") and not before.pop("full_size")
    assert before == after
    assert "| a/124 | 248 | few_layers | 100.0 |" in load("regret_text").markdown(page.figures([*small, large]))


def test_a_killed_benchmark_goes_on_where_it_was(load: Load, tmp_path: Path) -> None:
    store, key, file = load("regret_lines"), load("regret_recipes").key_of, tmp_path / "lines.jsonl"
    store.append_line(file, line("a/5", "few_layers", "10"))
    with file.open("a") as torn:
        torn.write('{"task": "a/5", "se')
    assert [key(found) for found in store.read_lines(file)] == [("a/5", 0, "few_layers")]
    store.append_line(file, line("a/5", "all_layers", "10"))
    assert [key(found)[2] for found in store.read_lines(file)] == ["few_layers", "all_layers"]


def test_an_interrupted_benchmark_has_the_same_recipes_for_all_tasks(load: Load, image_folder: ImageFolder) -> None:
    regret, tasks = load("regret"), load("regret_tasks")
    folder = image_folder({f"{split}/{name}": 6 for split in ("train", "test") for name in ("ants", "bees")})
    made = [task for seed in (0, 1) for task in tasks.tasks_of(folder, tasks.SMALL, seed=seed)]
    order = [(task.seed, recipe) for task, recipe in regret.planned(made)]
    assert order == sorted(order, key=lambda each: each[0]), "a seed after the other"
    assert len(set(regret.planned(made))) == len(order)


def test_smaller_tasks_lie_in_larger_ones_and_share_their_test_images(load: Load, image_folder: ImageFolder) -> None:
    tasks = load("regret_tasks")
    folder = image_folder({f"{split}/{name}": 10 for split in ("train", "test") for name in ("ants", "bees")})
    small, large = tasks.tasks_of(folder, tasks.SMALL, seed=0)
    assert (small.per_class, large.per_class) == (5, 10)
    names = [{sample.name for sample in task.train.samples} for task in (small, large)]
    assert names[0] < names[1]
    assert small.test == large.test
    assert not any("test/" in name for name in names[1])
    assert {sample.name for sample in tasks.tasks_of(folder, tasks.SMALL, seed=1)[0].train.samples} != names[0]


@pytest.mark.slow
def test_one_task_from_analysis_to_line(
    load: Load, image_folder: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, runs = load("regret_tasks"), load("regret_runs")
    folder = image_folder({f"{split}/{name}": 6 for split in ("train", "test") for name in ("ants", "bees")})
    settings = tasks.Settings("tiny", 32, (5,), 100, 100, 10, (2, 2), 8, "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    [task] = tasks.tasks_of(folder, settings, seed=0)
    bench = runs.Bench.of(task, settings, tmp_path / "bench")
    seen = bench.line("analyze")
    assert seen["size"]["images"] == 10, "test images are not analyzed"
    for name in (f"advised/{seen['cell']}", "fastai_fine_tune", "bit_hyperrule"):
        found = bench.line(name)
        assert len(found["correct"]) == 12
        assert found["accuracy"] == found["correct"].count("1") / 12
    assert found["epochs"] == 2, "steps of the rule are cut down too"
    assert not (tmp_path / "bench" / "run").exists()


def test_the_committed_figures_are_those_of_the_committed_lines(load: Load) -> None:
    results = BENCHMARKS / "results"
    if not (results / "regret.jsonl").is_file():
        pytest.skip("no lines are committed")
    lines = load("regret_lines").read_lines(results / "regret.jsonl")
    page = load("regret_page")
    found = page.figures(lines)
    assert json.loads((results / "regret.json").read_text()) == json.loads(json.dumps(found))
    assert (results / "regret.md").read_text() == load("regret_text").markdown(found)


def test_borders_are_fitted_without_the_data_set_they_judge(load: Load) -> None:
    """Everywhere but on c training pays from five images on; only borders that saw c would know of it."""
    calibrate, figures, good = load("calibrate"), load("regret_figures"), "1" * 20
    lines = [
        found
        for data in "abcd"
        for found in whole(
            load, f"{data}/5", "linear_probe", {"advised/linear_probe" if data == "c" else "advised/few_layers": good}
        )
    ]
    for found in lines:
        if found["recipe"] == "analyze":
            found["similarity"]["score"] = 0.99
    found = calibrate.calibrated(figures.units_of(lines))
    assert found["fitted"]["plenty_per_class"] <= 5
    assert found["by_data"]["c"]["fitted, data set left out"] == 0.5
    assert found["rules"]["fitted, data set left out"]["accuracy"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert "fitted without c" in calibrate.markdown(found)


def test_the_pictures_are_the_same_for_the_same_figures(load: Load, tmp_path: Path) -> None:
    lines = (
        whole(load, "a/5", "few_layers", {})
        + whole(load, "a/20", "linear_probe", {})
        + whole(load, "b/5", "few_layers", {})
    )
    found = load("regret_page").figures(lines)
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        drawn.append([path.read_bytes() for path in load("regret_plot").draw(found, tmp_path / name)])
    assert len(drawn[0]) == 2 and drawn[0] == drawn[1]
    assert b"advisor" in drawn[0][0]
