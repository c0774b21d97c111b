"""A search for copies is made once for the same looks, and comes out as it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.images import duplicates as known_pairs
from finetune_advisor.images.duplicates import Pair, known_near_duplicates
from finetune_advisor.images.thumbnails import COLOR_THUMBNAIL, THUMBNAIL, Looks


class Search:
    """Finds one pair in everything, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, looks: Looks) -> tuple[Pair, ...]:
        self.calls += 1
        return (Pair(0, len(looks) - 1, 1 / 3, confirmed=True),)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    search = Search()
    monkeypatch.setattr(known_pairs, "near_duplicates", search)
    return search


def looks(seed: int, width: int = 64, red: int = 0) -> Looks:
    rng = np.random.default_rng(seed)
    thumb_NHW = rng.integers(0, 256, (3, THUMBNAIL, THUMBNAIL), dtype=np.uint8)
    colors_NHWC = np.full((3, COLOR_THUMBNAIL, COLOR_THUMBNAIL, 3), (red, 0, 0), np.uint8)
    return Looks(thumb_NHW, np.full((3, 2), width), ("RGB",) * 3, colors_NHWC)


def test_the_same_looks_are_searched_once(search: Search) -> None:
    first = known_near_duplicates(looks(0))
    again = known_near_duplicates(looks(0))
    assert search.calls == 1
    assert again == first == (Pair(0, 2, 1 / 3, confirmed=True),)
    assert isinstance(again[0], Pair)


OTHERS = [looks(1), looks(0, width=65), looks(0, red=9), looks(0, red=9).rows([1, 0, 2]), looks(0).rows([0, 1])]


@pytest.mark.parametrize("other", OTHERS)
def test_other_looks_are_another_search(search: Search, other: Looks) -> None:
    known_near_duplicates(looks(0))
    assert known_near_duplicates(other)[0].second == len(other) - 1
    assert search.calls == 2
