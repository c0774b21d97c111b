"""Reading recipes: shipped ones, `extends`, files and `--set`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from finetune_advisor.errors import RecipeError
from finetune_advisor.recipes.load import change_recipe, load_recipe, shipped_path, shipped_recipes
from finetune_advisor.techniques.catalog import families, kind_of

Write = Callable[..., Path]
Problems = Callable[..., dict[str, str]]
Lines = Callable[..., dict[str, tuple[str | None, int | None]]]


# Shipped recipes


def test_the_four_cells_and_every_other_strategy_are_shipped_under_their_own_name() -> None:
    assert {kind_of(strategy) for strategy in families()["strategy"]} <= set(shipped_recipes())
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.strategy.kind == name
        text = shipped_path(name).read_text()
        assert text.startswith(f"# finetune-advisor run {name}")
        assert "# Cost and score:" in text


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_writes_down_every_key(name: str) -> None:
    recipe = load_recipe(name).model_dump(mode="json")
    assert yaml.safe_load(shipped_path(name).read_text()) == recipe


# extends


def test_a_file_extends_a_shipped_recipe_key_by_key(write: Write) -> None:
    path = write("extends: few_layers\nname: mine\noptimizer: {lr: 1e-5}\nstrategy:\n  stages: 1\n")
    recipe, parent = load_recipe(path), load_recipe("few_layers")
    assert recipe.name == "mine"
    assert parent.optimizer is not None
    assert recipe.optimizer == parent.optimizer.model_copy(update={"lr": 1e-5})
    assert recipe.strategy == parent.strategy.model_copy(update={"stages": 1})
    assert recipe.augmentation == parent.augmentation


def test_a_file_extends_a_file_beside_it_from_any_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("extends: few_layers\nseed: 5\n", "team/base.yaml")
    path = write("extends: team/base.yaml\nname: mine\n")
    monkeypatch.chdir(tmp_path / "team")
    assert load_recipe(path).seed == 5


def test_another_kind_replaces_the_technique_and_a_list_the_list(write: Write) -> None:
    path = write(
        "extends: few_layers\noptimizer: {kind: sgd, lr: 0.2}\naugmentation:\n  - kind: color_jitter\nschedule:\n"
        "  kind: constant\n"
    )
    recipe = load_recipe(path)
    assert recipe.optimizer and recipe.augmentation and recipe.schedule
    assert (recipe.optimizer.kind, recipe.optimizer.lr) == ("sgd", 0.2)
    assert [augmentation.kind for augmentation in recipe.augmentation] == ["color_jitter"]
    assert recipe.schedule.kind == "constant"


def test_another_unit_of_the_budget_replaces_the_parent_s(write: Write) -> None:
    path = write("extends: few_layers\nbudget: {steps: 100}\n")
    budget = load_recipe(path).budget
    assert budget is not None
    assert (budget.steps, budget.epochs) == (100, None)


def test_a_circle_of_extends_is_an_error_that_shows_it(write: Write, problems: Problems) -> None:
    write("extends: b.yaml\n", "a.yaml")
    path = write("name: b\nextends: a.yaml\n", "b.yaml")
    found = problems(path)
    assert found == {"extends": "goes around in a circle: b.yaml -> a.yaml -> b.yaml"}


def test_a_missing_parent_is_reported_where_it_is_named(write: Write, problems: Problems, lines: Lines) -> None:
    path = write("name: mine\nextends: few_layer\n")
    assert "did you mean 'few_layers'?" in problems(path)["extends"]
    assert lines(path) == {"extends": (str(path), 2)}


def test_a_problem_in_a_parent_is_reported_in_the_parent(write: Write, lines: Lines) -> None:
    parent = write("extends: few_layers\nseed: 0\noptimizer:\n  batch: 0\n", "parent.yaml")
    path = write("extends: parent.yaml\nseed: -1\n")
    assert lines(path) == {"optimizer.batch": (str(parent), 4), "seed": (str(path), 2)}


# Files


def test_a_missing_file_names_the_shipped_recipes() -> None:
    with pytest.raises(RecipeError, match=r"does not exist.*did you mean 'few_layers'") as caught:
        load_recipe("few_layer")
    assert "linear_probe" in str(caught.value.hint)


def test_a_folder_and_a_binary_file_are_no_recipes(tmp_path: Path, problems: Problems) -> None:
    assert problems(tmp_path)[""] == "is a folder, expected a recipe file"
    picture = tmp_path / "picture.yaml"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert problems(picture)[""] == "is not text in UTF-8, expected a recipe in YAML"
    picture.write_bytes(b"x" * 2_000_000)
    assert problems(picture)[""] == "is larger than 1 MB, expected a recipe"


# --set


def test_edits_reach_keys_items_and_absent_families() -> None:
    edits = ["optimizer.lr=1e-2", "augmentation.0.probability=0.1", "augmentation.random_crop.scale=[.5,1]"]
    recipe = load_recipe("few_layers", [*edits, "data.path=a=b", "optimizer.clip=1"])
    assert recipe.optimizer and recipe.augmentation
    assert (recipe.optimizer.lr, recipe.optimizer.clip) == (0.01, 1.0)
    assert recipe.augmentation[0].model_dump()["probability"] == 0.1
    assert recipe.augmentation[1].model_dump()["scale"] == (0.5, 1.0)
    assert recipe.data.path == "a=b"


@pytest.mark.parametrize("order", [1, -1], ids=["kind first", "kind last"])
def test_another_kind_drops_the_old_keys_whatever_the_order_of_edits(order: int) -> None:
    edits = ["optimizer.kind=sgd", "optimizer.lr=0.5"][::order]
    optimizer = load_recipe("few_layers", edits).optimizer
    assert optimizer is not None
    assert (optimizer.kind, optimizer.lr, optimizer.model_dump().get("betas")) == ("sgd", 0.5, None)


def test_the_same_kind_keeps_the_keys() -> None:
    assert load_recipe("few_layers", ["optimizer.kind=adamw"]) == load_recipe("few_layers")


def test_an_edit_is_named_as_the_place_of_its_problem(lines: Lines) -> None:
    assert lines("few_layers", "optimizer.lr=-1", "optimizer.mometum=0.9") == {
        "optimizer.lr": ("--set", None),
        "optimizer.mometum": ("--set", None),
    }


@pytest.mark.parametrize(
    ("edit", "key", "message"),
    [
        ("optimizer.lr", "", "expected KEY=VALUE like optimizer.lr=0.01, found 'optimizer.lr'"),
        ("=3", "", "expected KEY=VALUE"),
        ("a..b=3", "", "expected KEY=VALUE"),
        ("seed=[1", "seed", "not YAML"),
        ("name.first=x", "name.first", "`name` is a single value and has no keys"),
        ("augmentation.9.scale=1", "augmentation.9", "holds 0 (horizontal_flip), 1 (random_crop)"),
        ("optimizer.mometum=0.9", "optimizer.mometum", "unknown key; the keys here are"),
        ("optimizer.btch=9", "optimizer.btch", "unknown key; did you mean 'batch'?"),
    ],
)
def test_an_edit_that_leads_nowhere_says_why(edit: str, key: str, message: str, problems: Problems) -> None:
    assert message in problems("few_layers", edit)[key]


def test_a_recipe_in_memory_is_edited_in_the_same_way() -> None:
    recipe = load_recipe("few_layers")
    assert change_recipe(recipe, {"budget.steps": 7}) == load_recipe("few_layers", ["budget.steps=7"])
    with pytest.raises(RecipeError, match=r"optimizer\.lr: must be more than 0"):
        change_recipe(recipe, {"optimizer.lr": 0})
