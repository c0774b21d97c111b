"""Runs are compared image by image, and what cannot be told apart is said to be so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from scipy import stats

from finetune_advisor.comparison import compare, mcnemar
from finetune_advisor.errors import RunError
from finetune_advisor.metrics import accuracy_interval, leak_scores, score
from finetune_advisor.recipes.load import dump_recipe, load_recipe
from finetune_advisor.records.predictions import save_predictions
from finetune_advisor.records.rundir import RunDir

CLASSES = ("ants", "bees")


class MakeRun(Protocol):
    def __call__(
        self,
        name: str,
        wrong: set[int],
        *settings: str,
        images: range = ...,
        classes: tuple[str, str] = ...,
        split: str = ...,
    ) -> RunDir: ...


@pytest.fixture
def run(tmp_path: Path) -> MakeRun:
    """A finished run that is wrong about these of its images."""

    def make(
        name: str,
        wrong: set[int],
        *settings: str,
        images: range = range(100),
        classes: tuple[str, str] = CLASSES,
        split: str = "test",
    ) -> RunDir:
        folder = RunDir(tmp_path / name)
        folder.path.mkdir()
        labels = np.array([n % 2 for n in images])
        answers = np.array([(n + (n in wrong)) % 2 for n in images])
        probabilities = np.eye(2)[answers] * 0.8 + 0.1
        save_predictions(folder.predictions, classes, [f"{n}.jpg" for n in images], labels, probabilities)
        folder.recipe.write_text(dump_recipe(load_recipe("few_layers", settings)))
        parts = {"val": None, "test": None} | {split: score(probabilities, labels, classes)}
        seconds = {"images": 1.0, "total": 61.0}
        folder.metrics.write_text(
            json.dumps({**parts, "val_is": "held out", "recipe": "few_layers", "classes": classes, "seconds": seconds})
        )
        return folder

    return make


def test_a_lead_on_one_family_of_relatives_is_not_told(run: MakeRun) -> None:
    good, bad = run("good", {0}), run("bad", set(range(20, 40)))
    assert compare([good, bad]).leads[0].told_apart
    groups = {n: "patient" if 20 <= n < 40 else "" for n in range(100)}
    rows = [f"{n}.jpg,{CLASSES[n % 2]},test,{group}" for n, group in groups.items()]
    good.splits.write_text("\n".join(["path,label,split,group", *rows]) + "\n")
    comparison = compare([good, bad])
    assert not comparison.leads[0].told_apart
    assert comparison.groups == 81 and any("come in 81 groups" in note for note in comparison.notes)
    hit_N = np.array([n not in {*range(20, 40)} for n in range(100)])
    group_N = np.array([20 if 20 <= n < 40 else n for n in range(100)])
    low, high = accuracy_interval(hit_N, group_N)
    assert (comparison.runs[1].low, comparison.runs[1].high) == pytest.approx((low, high))


def test_images_that_leak_in_one_run_are_left_out_of_every_score_beside_it(run: MakeRun) -> None:
    good, bad = run("good", {0, 1}), run("bad", {0, 1, 2, 3})
    metrics = json.loads(bad.metrics.read_text())
    metrics["test"]["leak"] = {
        **leak_scores(np.ones(100, bool), [f"{n}.jpg" for n in range(100)], {f"{n}.jpg" for n in range(50, 100)}),  # type: ignore[dict-item]
    }
    bad.metrics.write_text(json.dumps(metrics))
    comparison = compare([good, bad])
    assert [each.leak["accuracy_without"] for each in comparison.runs if each.leak] == [0.96, 0.92]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (8, 1), (5, 5), (30, 12), (0, 6), (900, 800)])
def test_mcnemar_is_the_exact_binomial_test_of_the_disagreements(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


def test_a_clear_lead_is_told_and_a_small_one_is_not(run: MakeRun) -> None:
    good, near, bad = run("good", {0, 1}), run("near", {1, 2, 3}), run("bad", set(range(2, 32)))
    comparison = compare([bad, near, good])
    assert [Path(each.run).name for each in comparison.runs] == ["good", "near", "bad"]
    assert comparison.images == 100 and comparison.split == "test"
    over_near, over_bad = comparison.leads
    assert over_near.lead == pytest.approx(0.01) and not over_near.told_apart
    assert (over_near.only_best, over_near.only_other) == (2, 1)
    assert over_bad.told_apart and over_bad.low > 0.15
    assert over_bad.p == pytest.approx(2 * mcnemar(30, 2)), "the smaller of two probabilities counts twice"
    assert over_near.p == 1.0


def test_recipes_are_compared_key_by_key(run: MakeRun) -> None:
    runs = [run("a", set()), run("b", {1}, "optimizer.lr=0.01"), run("c", {1, 2}, "seed=3", "augmentation=null")]
    recipes = compare(runs).recipes
    assert recipes["optimizer.lr"] == ("0.003", "0.01", "0.003")
    assert recipes["seed"] == ("0", "0", "3")
    assert recipes["augmentation"][2] == "null" and recipes["augmentation"][0] == recipes["augmentation"][1]


def test_images_that_only_some_have_are_left_out_and_that_is_said(run: MakeRun) -> None:
    comparison = compare([run("a", {60}), run("b", set(), images=range(50, 120))])
    assert comparison.images == 50 and [each.left_out for each in comparison.runs] == [20, 50]
    assert any("50 images that all runs share" in note for note in comparison.notes)


def test_validation_images_are_said_to_flatter(run: MakeRun) -> None:
    comparison = compare([run("a", set(), split="val"), run("b", {1}, split="val")])
    assert comparison.split == "val" and any("chose" in note for note in comparison.notes)


def test_what_cannot_be_compared_is_refused_with_the_reason(run: MakeRun) -> None:
    a = run("a", set())
    with pytest.raises(RunError, match="two or more runs"):
        compare([a, a])
    with pytest.raises(RunError, match="different classes: only one of them has bees, wasps"):
        compare([a, run("b", set(), classes=("ants", "wasps"))])
    with pytest.raises(RunError, match="none is shared"):
        compare([a, run("c", set(), images=range(100, 200))])
    with pytest.raises(RunError, match=r"scored on test images, .* on validation images"):
        compare([a, run("d", set(), split="val")])
    other = run("e", set(), classes=("bees", "ants"))
    with pytest.raises(RunError, match=r"0\.jpg is labeled ants and bees"):
        compare([a, other])
    a.metrics.unlink()
    with pytest.raises(RunError, match="holds no finished run"):
        compare([other, a])


def test_the_terminal_says_it_aloud(run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from finetune_advisor.cli.compare import render_comparison

    Console(width=160).print(render_comparison(compare([run("a", {0}), run("b", {1}), run("c", {0})])))
    said = capsys.readouterr().out
    assert "they cannot be told apart" in said and "agree on which images" in said
    assert "100 shared test images" in said and "61 s" in said and "The recipes are the same." in said


def test_recipe_keys_stand_below_each_other_where_the_terminal_is_narrow(
    run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from finetune_advisor.cli.compare import render_comparison

    other = run("second", {1}, "optimizer.lr=0.01", "augmentation=[{kind: random_crop}]")
    found = render_comparison(compare([run("first", {0}), other]))
    Console(width=160).print(found)
    wide = capsys.readouterr().out
    assert any(line.split()[:3] == ["optimizer.lr", "0.003", "0.01"] for line in wide.splitlines())
    Console(width=72).print(found)
    narrow = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    place = narrow.index("  optimizer.lr")
    assert narrow[place + 1 : place + 3] == ["    first   0.003", "    second  0.01"]
    assert max(map(len, narrow)) <= 72
