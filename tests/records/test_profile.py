"""What a person reads when profile.json is not what it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.records.health import BadFile, Imbalance
from finetune_advisor.records.profile import Profile, SplitCount


def error_of(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        Profile.load(path)
    assert caught.value.hint is not None and "finetune-advisor analyze" in caught.value.hint
    return caught.value


def test_a_missing_profile_says_how_to_make_one(tmp_path: Path) -> None:
    assert str(tmp_path / "profile.json") in error_of(tmp_path / "profile.json").message


@pytest.mark.parametrize("content", [b"", b'{"format": 1', b'{"format": 2}', b"[]", b"\xff\xfe"])
def test_a_damaged_or_foreign_profile_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    assert str(path) in error_of(path).message


def test_names_that_json_cannot_carry_are_escaped_and_others_are_left_alone() -> None:
    assert BadFile(path="caf\udce9.png", reason="").path == r"caf\udce9.png"
    assert SplitCount(images=1, per_class={"\udcff": 1}).per_class == {r"\udcff": 1}
    assert Imbalance(largest="Käfer 🐞", smallest=r"a\b", ratio=1).model_dump() == {
        "largest": "Käfer 🐞",
        "smallest": r"a\b",
        "ratio": 1,
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"format": 2', "it is cut short or is not JSON"),
        ('{"format": 2, "new": 1}', "missing"),
        ('{"format": 1}', "format: expected 2"),
    ],
)
def test_what_is_wrong_with_a_profile_is_said_in_plain_words(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    message = error_of(tmp_path / "profile.json").message
    assert says in message and "Input should" not in message and "Field required" not in message
