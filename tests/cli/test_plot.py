"""Curves in the terminal: up is up, and what is no number is not drawn."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from rich.console import Console

from finetune_advisor.artifacts.history import Record
from finetune_advisor.cli.plot import BLANK, HEIGHT, Curve, plot, plot_history


def rows(text: str) -> list[str]:
    return [line[8:] for line in text.splitlines()[1 : HEIGHT + 1]]


def ink(row: str) -> list[int]:
    return [place for place, letter in enumerate(row) if ord(letter) > BLANK]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    drawn = rows(plot("accuracy", [Curve([0.5, 0.6, 0.7, 0.8], "cyan")], x=("", "4")).plain)
    assert len(drawn) == HEIGHT
    places = [ink(row) for row in drawn]
    assert places[-1][0] == 0 and places[0][-1] == max(map(max, places))
    assert all(low[0] <= high[0] for low, high in zip(places[1:], places, strict=False)), "one line, without gaps"


def test_the_ends_of_the_scale_are_the_extremes() -> None:
    text = plot("loss", [Curve([3.0, math.nan, None, 1.0], "red"), Curve([2.0], "cyan")], x=("1", "4")).plain
    assert text.splitlines()[1].startswith("      3 ") and text.splitlines()[HEIGHT].startswith("      1 ")
    assert "nothing to draw" in plot("loss", [Curve([None, math.inf], "red")], x=("", "")).plain
    assert "nan" not in plot("loss", [Curve([1.0, 1.0], "red")], x=("", "")).plain, "a level line has no height"


def test_a_history_is_drawn_whatever_is_in_it() -> None:
    empty = Record(1, 1.0, None, None, None, None, None, None, 0.0)
    for records in ((), (empty,)):
        console = Console(width=100, record=True, file=None, quiet=True)
        console.print(plot_history(records))


def test_diagnose_draws_when_asked(cli, probe_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(probe_run, tmp_path / "copy")
    said = cli("diagnose", run, "--plot").stdout
    assert any(BLANK < ord(letter) < BLANK + 256 for letter in said) and "0.01 L2" in said
    assert not any(BLANK < ord(letter) < BLANK + 256 for letter in cli("diagnose", run).stdout)
