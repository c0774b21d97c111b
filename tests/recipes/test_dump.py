"""Writing recipes: what a person finds in the file, and that it reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from finetune_advisor.recipes.load import (
    diff_recipes,
    dump_recipe,
    is_edited,
    load_recipe,
    recipe_schema,
    shipped_recipes,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_written_recipe_reads_back_equal_here_and_with_any_yaml_reader(name: str, file: Path) -> None:
    recipe = load_recipe(name)
    file.write_text(dump_recipe(recipe, header="finetune-advisor analyze ./data"), encoding="utf-8", newline="")
    assert load_recipe(file, as_written=True) == recipe
    assert yaml.safe_load(file.read_text()) == recipe.model_dump(mode="json")


@pytest.mark.parametrize(
    "path",
    [
        "no", "null", "1e-5", "0x10", "12:30", "2024-01-01", "~", "# x", "a: b", "- a", "'quoted'", '"', "a\\b",
        "C:\\x", "line\nbreak", "tab\t", " space ", "[a, b]", "{a}", "a, b", "&a", "*a", "!x", "%", "@", "`", "é",
        "日本", "\x85", "\u2028", "x" * 500, "🐜",
    ],
)  # fmt: skip
def test_any_text_reads_back_as_it_was(path: str, file: Path) -> None:
    recipe = load_recipe("stage_probe")
    data = recipe.data.model_copy(update={"path": path})
    strategy = recipe.strategy.model_copy(update={"stages": (path, "head")})
    recipe = recipe.model_copy(update={"data": data, "strategy": strategy})
    file.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    assert load_recipe(file, as_written=True) == recipe


def test_a_reason_stands_above_its_line_and_elsewhere_the_meaning_stands_beside_it() -> None:
    reasons = {
        "strategy": "cell: little, different",
        "optimizer.lr": "word " * 60,
        "augmentation.horizontal_flip": "mirrored ants are ants",
        "augmentation.1.scale": "nothing is lost",
    }
    rows = dump_recipe(load_recipe("few_layers"), reasons=reasons).splitlines()
    assert rows[rows.index("strategy:") - 1] == "# cell: little, different"
    above = [row for row in rows if row.startswith("  # word")]
    assert len(above) == 4
    assert rows[rows.index("  lr: 0.003") - 1] == above[-1]
    assert rows[rows.index("  - kind: horizontal_flip") - 1] == "  # mirrored ants are ants"
    assert rows[rows.index("    scale: [0.5, 1.0]") - 1] == "    # nothing is lost"
    [batch] = [row for row in rows if row.startswith("  batch: 32")]
    assert batch.endswith("  # Images in a step")
    assert max(map(len, rows)) <= 100


def test_reasons_and_header_cannot_end_their_comment(file: Path) -> None:
    recipe = load_recipe("few_layers")
    evil = "class 'x\nseed: 7\r\nname: evil\u2028y\x85\x00'"
    file.write_text(
        dump_recipe(recipe, reasons={"seed": evil, "optimizer.lr": evil}, header=f"run\n{evil}"),
        encoding="utf-8",
        newline="",
    )
    assert load_recipe(file, as_written=True) == recipe
    assert not is_edited(file.read_text())


def test_a_reason_for_a_key_that_is_not_there_is_a_bug() -> None:
    with pytest.raises(AssertionError, match=r"optimizer\.momentum"):
        dump_recipe(load_recipe("few_layers"), reasons={"optimizer.momentum": "why"})


def test_a_person_s_edit_is_noticed_and_a_change_of_line_ends_is_none() -> None:
    text = dump_recipe(load_recipe("few_layers"), header="finetune-advisor analyze ./data")
    assert not is_edited(text)
    assert not is_edited(text.replace("\n", "\r\n"))
    assert is_edited(text.replace("lr: 0.003", "lr: 0.004"))
    assert is_edited(text.replace("analyze", "analyse"))
    assert is_edited(text + "# mine\n")
    assert is_edited("extends: few_layers\n")
    for name in shipped_recipes():
        assert is_edited(dump_recipe(load_recipe(name)).replace("# unedited", "#"))


def test_equal_recipes_have_the_same_text() -> None:
    assert dump_recipe(load_recipe("few_layers")) == dump_recipe(load_recipe("few_layers"))


def test_differences_go_by_key_and_by_kind() -> None:
    before = load_recipe("few_layers")
    after = load_recipe(
        "few_layers", ["optimizer.lr=1e-2", "augmentation=[{kind: random_crop}]", "loss.kind=cross_entropy"]
    )
    assert diff_recipes(before, after) == [
        ("augmentation.horizontal_flip", "{kind: horizontal_flip, probability: 0.5}", None),
        ("optimizer.lr", "0.003", "0.01"),
    ]
    assert diff_recipes(before, before) == []
    [*_, budget, precision, room] = diff_recipes(load_recipe("linear_probe"), before)
    assert precision == ("runtime.precision", "float32", "auto")
    assert room == ("runtime.cache_mib", "null", "4096")
    assert budget == ("budget", "null", "{epochs: 8, steps: null, images: null, minutes: null, early_stopping: null}")


def test_the_schema_describes_every_key_and_lets_a_file_extend_another() -> None:
    schema = recipe_schema()
    assert schema["properties"]["seed"]["description"] == "The same seed gives the same run."
    assert {"required": ["extends"]} in schema["anyOf"]
    assert schema["additionalProperties"] is False
