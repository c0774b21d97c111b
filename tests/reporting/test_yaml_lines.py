"""Coloring a recipe loses nothing of it."""

from __future__ import annotations

import pytest

from finetune_advisor.recipes.dump import dump_recipe
from finetune_advisor.recipes.load import load_recipe, shipped_path, shipped_recipes
from finetune_advisor.reporting.pages import YamlLine, yaml_lines


def joined(line: YamlLine) -> str:
    return line.reason or line.lead + line.key + line.value + line.comment


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_pieces_are_the_text(name: str) -> None:
    written = dump_recipe(load_recipe(name), reasons={"strategy": "because, '#' and all"}, header="A recipe.\nOf two.")
    for text in (shipped_path(name).read_text(encoding="utf-8"), written):
        assert [joined(line) for line in yaml_lines(text)] == text.splitlines()


@pytest.mark.parametrize(
    ("text", "value", "comment"),
    [
        ("lr: 0.003             # of the head", " 0.003", "             # of the head"),
        ('path: "a # b"  # where', ' "a # b"', "  # where"),
        ("path: a#b", " a#b", ""),
        ("data:", "", ""),
        ("data:        # The images", "", "        # The images"),
        ("lr: null  # no: never", " null", "  # no: never"),
    ],
)
def test_values_and_comments_are_told_apart(text: str, value: str, comment: str) -> None:
    (line,) = yaml_lines(text)
    assert (line.value, line.comment) == (value, comment)
