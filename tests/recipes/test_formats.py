"""Recipes of earlier versions load where a key that is gone had no effect, and are refused where it had one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.formats import RemovedKey, without_removed_keys
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.yaml import parse, plain

GONE = (RemovedKey("runtime.pace", (None, "auto"), "steps take as long as they take; leave it out."),)


def test_a_removed_key_that_had_no_effect_is_dropped_with_one_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = parse("name: old\nruntime:\n  pace: auto\n  workers: 2\n", "old.yaml")
    left, dropped = without_removed_keys(tree, GONE)
    assert plain(left) == {"name": "old", "runtime": {"workers": 2}} and dropped == ("runtime.pace",)
    (tmp_path / "old.yaml").write_text("extends: linear_probe\nruntime: {augment_on: cpu}\n")
    with caplog.at_level(logging.WARNING):
        load_recipe(tmp_path / "old.yaml")
    assert [record.getMessage() for record in caplog.records] == [
        "The recipe has keys of an earlier version that no longer exist: runtime.augment_on."
    ]


def test_a_removed_key_that_had_an_effect_is_an_error_with_its_line_and_what_to_write_instead() -> None:
    with pytest.raises(RecipeError) as caught:
        without_removed_keys(parse("runtime:\n  pace: slow\n", "old.yaml"), GONE)
    (problem,) = caught.value.problems
    assert (problem.key, problem.file, problem.line) == ("runtime.pace", "old.yaml", 2)
    assert problem.message == "removed: steps take as long as they take; leave it out."


def test_augmentation_on_the_device_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("extends: few_layers\nruntime: {augment_on: device}\n")
    with pytest.raises(RecipeError, match=r"runtime\.augment_on: removed: no measurement .* Leave it out") as caught:
        load_recipe(tmp_path / "old.yaml")
    assert [problem.line for problem in caught.value.problems] == [2]


def test_recipes_without_such_keys_and_odd_ones_pass_unchanged(tmp_path: Path) -> None:
    for text in ("name: new\nruntime: {workers: 2}\n", "runtime: 3\n", "runtime: null\n"):
        tree = parse(text, "recipe.yaml")
        assert without_removed_keys(tree, GONE)[0] is tree
