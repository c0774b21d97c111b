"""The YAML of recipes: what is read as what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from finetune_advisor.recipes.load import load_recipe

Write = Callable[..., Path]
Problems = Callable[..., dict[str, str]]
Lines = Callable[..., dict[str, tuple[str | None, int | None]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the keys of a recipe, found nothing"),
        ("# only a comment\n", "expected the keys of a recipe, found nothing"),
        ("- few_layers\n", "expected the keys of a recipe, found a list"),
        ("few_layers", "expected the keys of a recipe, found a single value"),
        ("name: [mine\nseed: 0", "not YAML: while parsing a flow sequence"),
        ("name: mine\n\tseed: 0", "not YAML"),
        ("name: \x07", "not text"),
        ("[" * 5000, "nested far too deeply"),
        (
            "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghi")),
            "more",
        ),
        ("a: &a [*a]\n", "nested far too deeply"),
    ],
)
def test_what_is_no_recipe_is_said_to_be_none(write: Write, text: str, message: str, problems: Problems) -> None:
    assert message in problems(write(text))[""]


def test_a_key_that_stands_twice_is_an_error_that_gives_both_lines(
    write: Write, problems: Problems, lines: Lines
) -> None:
    path = write("extends: few_layers\nseed: 0\ndata:\n  path: a\n  path: b\nseed: 1\n")
    assert problems(path) == {
        "data.path": "stands twice; it is on line 4 already",
        "seed": "stands twice; it is on line 2 already",
    }
    assert lines(path) == {"data.path": (str(path), 5), "seed": (str(path), 6)}


def test_tags_are_refused(write: Write, problems: Problems) -> None:
    path = write("extends: few_layers\nname: !!python/object/apply:os.system [true]\n")
    assert "found the tag" in problems(path)["name"]


@pytest.mark.parametrize(
    ("text", "value"), [("1e-5", 1e-5), ("1E-5", 1e-5), ("1.e-5", 1e-5), (".1", 0.1), ("1", 1.0), ("1e0", 1.0)]
)
def test_numbers_are_read_as_people_write_them(text: str, value: float) -> None:
    optimizer = load_recipe("few_layers", [f"optimizer.lr={text}"]).optimizer
    assert optimizer is not None
    assert optimizer.lr == value


@pytest.mark.parametrize("name", ["no", "on", "2024-01-01", "12:30", "~x", "1.2.3"])
def test_text_stays_text_without_quotes(name: str) -> None:
    assert load_recipe("few_layers", [f"data.path={name}"]).data.path == name


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("\ufeffextends: few_layers\r\nname: mine\r\n".encode())
    assert load_recipe(path).name == "mine"
