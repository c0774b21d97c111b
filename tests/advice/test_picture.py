"""What a person sees after `analyze`, and the script that makes the README's picture of it."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from finetune_advisor.advice.advise import advise
from finetune_advisor.advice.table import place
from finetune_advisor.cli.analyze import ROWS, render_analysis, table_map
from finetune_advisor.records.profile import Cell, Profile

MakeProfile = Callable[..., Profile]

SCRIPT = Path(__file__).parents[2] / "docs" / "pictures.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_the_cell_and_loads_nothing_from_elsewhere(
    script: ModuleType, make_profile: MakeProfile
) -> None:
    svg = script.picture(place(make_profile(score=0.3)))
    assert "stage_probe" in svg
    assert set(re.findall(r"https?://[^\s\"<]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


@pytest.mark.parametrize("per_class", [2, 60, 199, 200, 900, 10**7])
@pytest.mark.parametrize("score", [0.0, 0.3, 0.92, 0.929, 0.93, 0.97, 1.0])
def test_the_point_lies_in_the_cell_of_the_verdict(make_profile: MakeProfile, per_class: int, score: float) -> None:
    profile = place(make_profile(per_class=per_class, score=score))
    lines = table_map(profile).plain.splitlines()[2:]
    rows = [line for line in lines if "├" not in line]
    (row,) = [number for number, line in enumerate(rows) if "●" in line]
    _, left, right, _ = rows[row].split("│")
    assert ("●" in left) == (profile.similarity.verdict == "similar")
    assert ("●" in right) == (profile.similarity.verdict == "different")
    assert (row < ROWS) == (profile.size.verdict == "little")


@pytest.mark.parametrize("strategy", [None, "few_layers"])
def test_eighty_columns_are_enough(make_profile: MakeProfile, strategy: Cell | None) -> None:
    profile = place(make_profile(score=0.3, per_class=199, ratio=7.0))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_analysis(profile, advise(profile, strategy=strategy), Path("recipe.yaml"), Path("analysis")))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "ants has 7 times the images of bees" in text
    assert ("Chosen by hand" in text) == (strategy is not None)


@pytest.mark.parametrize(("score", "shown"), [(0.9296, "0.9296"), (0.93, "0.93"), (0.31, "0.31")])
def test_a_number_beside_its_border_does_not_read_as_the_border(
    make_profile: MakeProfile, score: float, shown: str
) -> None:
    reason = advise(make_profile(score=score)).reasons["strategy"]
    assert re.search(rf"similarity to ImageNet {re.escape(shown)}(,| \[)", reason)
