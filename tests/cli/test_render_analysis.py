"""What a person reads after `analyze`: leaks first, everything within 80 columns, names of any kind harmless."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from finetune_advisor.advice.advise import Advice
from finetune_advisor.cli.analyze import render_analysis
from finetune_advisor.recipes.load import load_recipe
from finetune_advisor.recipes.recipe import Recipe
from finetune_advisor.records.profile import Predicted, Profile
from tests.reporting.conftest import full_profile

NAMES = tuple(f"{split}/{label}/{n}.jpg" for n in range(6) for split in ("train", "test") for label in ("ants", "bees"))

Show = Callable[..., str]


@pytest.fixture
def full() -> Profile:
    profile = full_profile(list(NAMES), first="ants", second="bees")
    # The border as images a class, which every version of the advice can put into words.
    return profile.model_copy(update={"size": profile.size.model_copy(update={"amount": None, "threshold": 200.0})})


@pytest.fixture
def show() -> Show:
    """The analysis as lines of plain text."""

    def shown(
        profile: Profile,
        *,
        width: int = 80,
        recipe: Recipe | None = None,
        file: str = "recipe.yaml",
        color: bool = False,
    ) -> str:
        expected = Predicted(accuracy=0.895, low=0.872, high=0.914, basis="a linear classifier (all)", majority=0.333)
        advice = Advice(recipe or load_recipe("stage_probe"), {}, expected, "")
        console = Console(width=width, file=io.StringIO(), record=True, force_terminal=color, no_color=not color)
        console.print(render_analysis(profile, advice, Path(file), Path("analysis"), expected_seconds=41.0))
        return console.export_text()

    return shown


def with_health(profile: Profile, **changes: object) -> Profile:
    return profile.model_copy(update={"health": profile.health.model_copy(update=changes)})


def test_a_leak_in_the_split_is_shown_before_any_score(full: Profile, show: Show) -> None:
    text = show(full)
    leak = text.index("1 group of identical files spans train and test")
    assert leak < text.index("linear_probe") < text.index("ImageNet 0.72") < text.index("Expected")
    assert "train/ants/0.jpg = train/bees/0.jpg" in text


def test_without_a_leak_nothing_is_said_of_one(full: Profile, show: Show) -> None:
    assert "Leak" not in show(with_health(full, duplicates_across_splits=(), split_leak=None))


def test_what_matters_is_said(full: Profile, show: Show) -> None:
    text = show(full, width=100).replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "stage_probe, linear classifiers at stages (near a border: many_layers)",
        "80 images per class, fewer than the 200 from which layers are trained",
        "always naming the largest class: 0.333",
        "200 more images a class would tip it to many_layers.",
        "accuracy 0.895 [0.872, 0.914] on unseen images",
        "about 41 s on this machine; this analysis took 16 s",
        "ten times the images would bring about +3.5 points",
        "15 labels may be wrong.",
        "ants, or bees? and 14 more",
        "1 unreadable file left out.",
        "analysis/report.html",
        "analysis/profile.json",
        "analysis/clean.csv  without unreadable files and extra copies",
        "analysis/review.csv  images that want a look",
        "finetune-advisor run",
    ):
        assert words in text, words


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal(full: Profile, show: Show, width: int) -> None:
    lines = show(full, width=width).splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= width


@pytest.mark.parametrize("width", [43, 45, 60, 75, 76, 120])
def test_the_table_keeps_its_shape_in_a_narrow_terminal(full: Profile, show: Show, width: int) -> None:
    lines = show(full, width=width).splitlines()
    top = next(number for number, line in enumerate(lines) if "┌" in line)
    end = next(number for number, line in enumerate(lines) if "┘" in line)
    table = [line.rstrip() for line in lines[top : end + 1]]
    assert len(table) == 13 and {cell_len(line) for line in table} == {cell_len(table[0])}
    assert cell_len(table[0]) <= width
    assert "".join(table).count("●") == 1
    for cell in ("linear_probe", "stage_probe", "few_layers", "many_layers"):
        assert any(f"│ {cell} " in line for line in table), cell


@pytest.mark.parametrize("width", [20, 42])
def test_where_no_table_fits_a_line_says_the_same(full: Profile, show: Show, width: int) -> None:
    text = " ".join(show(full, width=width).split())
    assert "┌" not in text and "stage_probe: little data, different from ImageNet" in text


def test_findings_take_a_line_and_their_names_another(full: Profile, show: Show) -> None:
    leak = full.health.leak
    assert leak is not None
    quiet = with_health(full, leak=leak.model_copy(update={"suspicious": False}))
    health = show(quiet).partition("Health")[2].partition("Wrote")[0].splitlines()
    for above, line in pairwise(health):
        assert line.strip() == "" or "●" in line or "●" in above or "report.html" in line, line


def test_sound_data_is_called_sound(full: Profile, show: Show) -> None:
    empty: dict[str, object] = {
        field: ()
        for field in type(full.health).model_fields
        if field not in ("sizes", "values", "leak", "tones", "split_leak", "near_duplicates_unchecked")
    }
    none: dict[str, object] = {
        "color_modes": {},
        "leak": None,
        "split_leak": None,
        "near_duplicates_unchecked": 0,
        "tones": None,
        "values": None,
    }
    balanced = full.health.imbalance.model_copy(update={"ratio": 1.0})
    text = show(with_health(full, **{**empty, **none, "imbalance": balanced}))
    assert "no unreadable files, no copies" in text


def test_a_sample_is_called_one(full: Profile, show: Show) -> None:
    sampled = full.model_copy(update={"sampled": {"images": 20_000, "of": 60_000}})
    text = show(Profile.model_validate(sampled.model_dump(warnings=False)))
    assert "a stratified sample: 20,000 of 60,000 images" in text


def test_a_profile_without_the_newer_measurements_is_shown(full: Profile, show: Show) -> None:
    size = full.size.model_copy(update={"learning_curve": (), "power_law": None, "forecast": None})
    bare = full.model_copy(update={"size": size, "neighbors": (), "views": ()})
    text = show(bare)
    assert "More data" not in text and "None" not in text


@pytest.mark.parametrize("color", [False, True])
def test_hostile_names_neither_break_lines_nor_inject(full: Profile, show: Show, color: bool) -> None:
    evil = "[red]x[/red]\n\x1b[31mEVIL\x07\u202egpj.exe" + "é" * 300
    names = [f"{split}/{evil}{n}/漢字{n}.jpg" for n in range(6) for split in ("train", "test")]
    profile = full_profile(names, data=f"/data/{evil}", first=evil, second=f"[/]{evil}")
    text = show(profile.model_copy(update={"size": full.size}), color=color, file="a\nb/recipe.yaml")
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "[red]x" in text
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= 80
    assert not [line for line in text.splitlines() if line.startswith("EVIL")]
    assert "finetune-advisor run RECIPE" in text


def test_the_recipe_chosen_by_hand_is_said_to_be(full: Profile, show: Show) -> None:
    assert "Chosen by hand: few_layers" in show(full, recipe=load_recipe("few_layers"))


def test_the_command_names_the_file_that_was_written(full: Profile, show: Show) -> None:
    assert "finetune-advisor run 'my recipes/a.yaml'" in show(full, file="my recipes/a.yaml")
    assert show(full).rstrip().endswith("finetune-advisor run")
