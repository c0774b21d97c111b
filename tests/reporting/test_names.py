"""Names are shown on one line, never longer than asked for, and cannot steer a terminal."""

from __future__ import annotations

import shlex

import pytest
from rich.cells import cell_len

from finetune_advisor.text import printable, quoted, shown, some


@pytest.mark.parametrize("name", ["ants", "train/ants/0001.jpg", "Größe 3", "漢字/一.png", "[red]markup[/red]"])
def test_a_name_that_a_person_can_read_is_left_alone(name: str) -> None:
    assert shown(name) == name


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "\x1b[31mred", "\x07", "abc\u202egpj.exe", "\u200bhidden", "\udcff", "a\u2028b", "\x85"]
)
def test_what_cannot_be_seen_is_written_as_an_escape(name: str) -> None:
    text = shown(name)
    assert text.isprintable()
    assert "\\" in text
    text.encode()


def test_a_message_keeps_its_lines_and_loses_what_steers_a_terminal() -> None:
    assert printable("a\nb\x1b[31m\u202e\0 \udcff") == "a\nb\\x1b[31m\\u202e\\x00 \udcff"


@pytest.mark.parametrize("longest", [3, 10, 25])
@pytest.mark.parametrize(
    "name", ["x" * 300, "漢" * 300, "\n" * 300, "a" * 10 + "\u202e" * 500 + ".jpg", "e" + "\u0301" * 999]
)
def test_long_names_keep_their_ends_and_the_width_asked_for(name: str, longest: int) -> None:
    assert cell_len(shown(name, longest)) <= longest


def test_the_end_of_a_cut_name_is_still_there() -> None:
    assert shown("train/" + "very" * 30 + "/0001.jpg", 26).endswith("0001.jpg")
    assert shown("train/" + "very" * 30 + "/0001.jpg", 26).startswith("train/")


def test_many_names_are_counted() -> None:
    assert some(["a", "b", "c", "d"], 3) == "a, b, c and 1 more"
    assert some(["a"], 3) == "a"


@pytest.mark.parametrize("path", ["recipe.yaml", "my recipes/it's.yaml", "$(reboot).yaml"])
def test_a_path_can_be_pasted_into_a_shell(path: str) -> None:
    assert shlex.split(quoted(path, "RECIPE")) == [path]


def test_a_path_that_nobody_can_type_is_not_offered_for_pasting() -> None:
    assert quoted("a\nrm -rf.yaml", "RECIPE") == "RECIPE"
