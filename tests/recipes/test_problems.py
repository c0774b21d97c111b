"""Every problem of a recipe, in a person's words and under the key a person wrote."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import load_recipe

Write = Callable[..., Path]
Problems = Callable[..., dict[str, str]]
Lines = Callable[..., dict[str, tuple[str | None, int | None]]]


def test_every_problem_is_told_at_once_with_its_key_its_line_and_what_would_be_right(
    write: Write, problems: Problems, lines: Lines
) -> None:
    path = write(
        "extends: few_layers\n"
        "nmae: mine\n"
        "data: {validation: 0.9}\n"
        "strategy: {kind: few_layer}\n"
        "augmentation:\n"
        "  - kind: random_crop\n"
        "    scale: [0.5, abc]\n"
        "  - kind: horizontal_flip\n"
        "    probability: 2\n"
        "preprocessing:\n"
        "  fit: corp\n"
        "optimizer:\n"
        "  momentum: 0.9\n"
        "  batch: '32'\n"
    )
    assert problems(path) == {
        "nmae": "unknown key; did you mean 'name'?",
        "data.validation": "must be at most 0.5, found 0.9",
        "strategy.kind": "unknown kind 'few_layer'; the kinds are linear_probe, stage_probe, few_layers, many_layers, "
        "all_layers, from_scratch, gradual_unfreezing, probe_then_fine_tune; did you mean 'few_layers'?",
        "augmentation.0.scale.1": "expected a number, found 'abc'",
        "augmentation.1.probability": "must be at most 1.0, found 2",
        "preprocessing.fit": "expected 'crop', 'pad' or 'stretch', found 'corp'; did you mean 'crop'?",
        "optimizer.momentum": (
            "unknown key; the keys here are kind, lr, body_lr_ratio, layer_decay, batch, micro_batch, clip, betas, eps"
        ),
        "optimizer.batch": "expected a whole number, found '32'",
    }
    assert {key: line for key, (_, line) in lines(path).items()} == {
        "nmae": 2,
        "data.validation": 3,
        "strategy.kind": 4,
        "augmentation.0.scale.1": 7,
        "augmentation.1.probability": 9,
        "preprocessing.fit": 11,
        "optimizer.momentum": 13,
        "optimizer.batch": 14,
    }


def test_conflicts_are_told_together_with_wrong_values(write: Write, problems: Problems) -> None:
    path = write("extends: few_layers\nstrategy:\n  kind: linear_probe\n  folds: 1\nseed: x\n")
    found = problems(path)
    assert {"strategy.folds", "seed", "head", "augmentation", "optimizer", "schedule", "budget"} <= set(found)
    assert found["optimizer"].startswith("linear_probe is fitted on clean features: `optimizer` would be ignored")


def test_missing_keys_say_what_they_are_for_and_where_to_get_them(write: Write) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write("name: mine\nformat: 1\nstrategy: {}\nloss: {label_smoothing: 0.1}\n"))
    found = {problem.key: problem.message for problem in caught.value.problems}
    assert found["data"] == "missing: the images"
    assert found["strategy.kind"].startswith("missing; the kinds are linear_probe")
    assert found["loss.kind"] == "missing; the kinds are cross_entropy, focal"
    assert "extends: few_layers" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("edit", "key", "message"),
    [
        ("strategy.stages=3", "strategy.stages", "expected 'all' or a list, found 3"),
        ("strategy.stages=[stem, 3]", "strategy.stages.1", "expected text, found 3"),
        ("strategy.stages=[]", "strategy.stages", "expected 'all' or at least 1 value, found []"),
        ("strategy.strengths=[1, x]", "strategy.strengths.1", "expected a number, found 'x'"),
        ("strategy=null", "strategy", "expected keys and values, found null"),
        ("seed=true", "seed", "expected a whole number, found true"),
        ("seed=1.5", "seed", "expected a whole number, found 1.5"),
        ("data.validation=.nan", "data.validation", "expected a finite number, found nan"),
        ("data.path=''", "data.path", "expected some text, found ''"),
        (
            "preprocessing.kind=5",
            "preprocessing.kind",
            "unknown kind 5; the kinds are backbone, data, min_max, pca_whitening",
        ),
        (
            "name=a/b",
            "name",
            "expected a name for the run's folder: letters, digits, `_`, and after the first also spaces, `.` and `-`; "
            "found 'a/b'",
        ),
        ("format=2", "format", "expected 1, found 2"),
        ("extends=few_layers", "extends", "belongs in a file; on the command line, name that recipe itself"),
        ("extend=few_layers", "extend", "unknown key; did you mean 'extends'?"),
        ("folds=3", "folds", "unknown key; did you mean 'strategy.folds'?"),
    ],
)
def test_a_wrong_value_has_one_problem_under_one_key(edit: str, key: str, message: str, problems: Problems) -> None:
    assert problems("stage_probe", edit) == {key: message}


def test_a_pair_with_one_number_is_one_problem(problems: Problems) -> None:
    assert problems("few_layers", "augmentation.random_crop.scale=[0.5]") == {
        "augmentation.1.scale": "expected 2 values, found [0.5]"
    }


def _mutated(value: Any, rng: random.Random) -> Any:
    """A copy of plain values in which some are replaced by others that do not belong there."""
    if rng.random() < 0.03:
        return rng.choice(
            [None, True, -1, 1.5, "all", "kind", [], {}, [None], ["a", 1], {"kind": ["a"]}, {"kind": "l2"}]
        )
    if isinstance(value, dict):
        kept = {key: _mutated(inside, rng) for key, inside in value.items() if rng.random() > 0.02}
        return {**kept, rng.choice(["kind", "lr", "few_layers"]): 1} if rng.random() < 0.05 else kept
    return [_mutated(item, rng) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["few_layers", "stage_probe"])
def test_whatever_is_in_a_file_each_wrong_key_is_told_once_and_by_a_name_from_the_file(write: Write, name: str) -> None:
    values, rng = load_recipe(name).model_dump(mode="json"), random.Random(0)
    for _ in range(100):
        path = write(yaml.safe_dump(_mutated(values, rng)))
        try:
            load_recipe(path)
        except RecipeError as error:
            keys = [problem.key for problem in error.problems]
            assert len(set(keys)) == len(keys), str(error)
            assert not set("[]'(|") & set("".join(keys)), keys
