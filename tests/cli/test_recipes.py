"""`finetune-advisor recipes` and `techniques`, as a person or a script calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from finetune_advisor.cli.recipes import recipes_app
from finetune_advisor.cli.techniques import techniques
from finetune_advisor.errors import FinetuneAdvisorError, RecipeError, StorageError
from finetune_advisor.recipes.load import baseline_recipes, load_recipe, shipped_path, shipped_recipes

app = typer.Typer()
app.add_typer(recipes_app, name="recipes")
app.command()(techniques)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_list_says_when_each_recipe_is_right() -> None:
    rows = run_json("recipes", "list")
    assert [row["name"] for row in rows] == [*shipped_recipes(), *baseline_recipes()]
    assert all(len(row["purpose"]) > 20 for row in rows)
    assert all(name in run("recipes", "list") for name in (*shipped_recipes(), *baseline_recipes()))


def test_show_prints_the_file_as_it_is() -> None:
    assert run("recipes", "show", "few_layers") == shipped_path("few_layers").read_text()
    assert run_json("recipes", "show", "few_layers")["optimizer"]["kind"] == "adamw"


def test_copy_makes_a_recipe_that_loads_and_refuses_to_overwrite_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("recipes", "copy", "few_layers")
    assert load_recipe(Path("recipe.yaml")) == load_recipe("few_layers")
    with pytest.raises(StorageError, match=r"recipe\.yaml is there already") as caught:
        run("recipes", "copy", "many_layers")
    assert "--force" in str(caught.value.hint)
    run("recipes", "copy", "many_layers", "--force")
    assert load_recipe(Path("recipe.yaml")).name == "many_layers"
    run("recipes", "copy", "few_layers", str(tmp_path))
    assert (tmp_path / "few_layers.yaml").is_file()


def test_copy_of_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'few_layers'"):
        run("recipes", "copy", "few_layer")


def test_validate_tells_scripts_the_problems_and_people_too(tmp_path: Path) -> None:
    file = tmp_path / "my [bold] recipe.yaml"
    file.write_text("extends: few_layers\nseed: -1\n")
    with pytest.raises(RecipeError, match="seed: must be at least 0"):
        run("recipes", "validate", str(file))
    result = CliRunner().invoke(app, ["recipes", "validate", str(file), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "valid": False,
        "problems": [{"key": "seed", "message": "must be at least 0, found -1", "file": str(file), "line": 2}],
    }
    assert f"{file} is a valid recipe" in run("recipes", "validate", str(file), "--set", "seed=3")
    assert run_json("recipes", "validate", "few_layers") == {"valid": True, "problems": []}


def test_diff_shows_both_sides() -> None:
    assert {"key": "strategy.stages", "before": "3", "after": None} in run_json(
        "recipes", "diff", "few_layers", "many_layers"
    )
    assert "strategy.frozen_stages" in run("recipes", "diff", "few_layers", "many_layers")
    assert run("recipes", "diff", "few_layers", "few_layers") == "no difference\n"


def test_schema_is_one_json_document() -> None:
    assert json.loads(run("recipes", "schema"))["type"] == "object"


def test_techniques_are_listed_and_explained() -> None:
    [adamw] = run_json("techniques", "adamw")
    assert (adamw["family"], adamw["kind"]) == ("optimizer", "adamw")
    assert set(adamw["keys"][0]) == {"name", "type", "default", "doc", "required"}
    assert {entry["family"] for entry in run_json("techniques", "schedule")} == {"schedule"}
    assert "one_cycle" in run("techniques")
    assert "Super-Convergence" in run("techniques", "one_cycle")
    assert "For fine-tuning of known length" in run("techniques", "one_cycle")
    with pytest.raises(FinetuneAdvisorError, match="did you mean 'adamw'"):
        run("techniques", "adam")
