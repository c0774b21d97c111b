"""Recipe files made for a test, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_advisor.errors import Problem, RecipeError
from finetune_advisor.recipes.load import load_recipe

Write = Callable[..., Path]
Problems = Callable[..., dict[str, str]]
Lines = Callable[..., dict[str, tuple[str | None, int | None]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def problems() -> Problems:
    """`problems(source, *overrides)`: message by key."""
    return lambda source, *overrides: {problem.key: problem.message for problem in _refused(source, overrides)}


@pytest.fixture
def lines() -> Lines:
    """`lines(source, *overrides)`: file and line by key."""
    return lambda source, *overrides: {
        problem.key: (problem.file, problem.line) for problem in _refused(source, overrides)
    }


def _refused(source: str | Path, overrides: tuple[str, ...]) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides)
    return caught.value.problems
