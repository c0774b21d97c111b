"""Class counts are those of the images to learn from."""

from __future__ import annotations

import pytest

from finetune_advisor.records.profile import Profile, SplitCount
from finetune_advisor.reporting.analysis_page import balance, largest_share


def of(full: Profile, **splits: dict[str, int]) -> Profile:
    counts = {name: SplitCount(images=sum(each.values()), per_class=each) for name, each in splits.items()}
    return full.model_copy(update={"splits": counts})


def test_training_and_validation_count_together_and_test_apart(full: Profile) -> None:
    found = balance(of(full, train={"a": 6, "b": 30}, val={"a": 2, "b": 10}, test={"a": 5}))
    assert found is not None
    assert [(row.name, row.images, row.test, row.share) for row in found.top] == [("b", 40, 0, 1), ("a", 8, 5, 0.2)]


def test_naming_the_largest_class_scores_its_share(full: Profile) -> None:
    assert largest_share(of(full, train={"a": 3, "b": 7}, test={"a": 100})) == pytest.approx(0.7)


def test_of_many_classes_both_ends_are_shown(full: Profile) -> None:
    found = balance(of(full, train={f"c{n:03}": n + 1 for n in range(200)}))
    assert found is not None
    assert (found.top[0].name, found.bottom[-1].name, found.left_out) == ("c199", "c000", 180)


def test_without_counts_there_is_nothing_to_show(bare: Profile) -> None:
    assert balance(bare) is None and largest_share(bare) is None
