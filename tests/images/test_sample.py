"""A sample of a large data set: shares kept, nobody lost, little moved by new images."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_advisor.images.sample import stratified_sample
from finetune_advisor.images.sources import Listing, Sample, Split

Stratum = tuple[Split | None, int]
"""A split and a class."""


def listing(counts: Mapping[Stratum, int]) -> Listing:
    samples = [
        Sample("/x", f"{split}/{label}/{number}.jpg", label, split)
        for (split, label), count in counts.items()
        for number in range(count)
    ]
    classes = tuple(map(str, range(1 + max(label for _, label in counts))))
    return Listing(Path("/x"), "/x", classes, tuple(samples), ())


def counted(found: Listing) -> Counter[Stratum]:
    return Counter((sample.split, sample.label) for sample in found.samples)


def names(found: Listing) -> set[str]:
    return {sample.name for sample in found.samples}


@pytest.mark.parametrize("limit", [7, 10, 100])
def test_a_small_set_is_itself(limit: int) -> None:
    small = listing({("train", 0): 4, ("test", 0): 3})
    assert stratified_sample(small, limit, seed=0) is small


@pytest.mark.parametrize("limit", [100, 333, 1000, 1499])
def test_shares_of_classes_and_splits_are_kept(limit: int) -> None:
    counts: dict[Stratum, int] = {
        ("train", 0): 700,
        ("train", 1): 300,
        ("val", 0): 140,
        ("val", 1): 60,
        ("test", 0): 210,
        ("test", 1): 90,
    }
    found = counted(stratified_sample(listing(counts), limit, seed=0))
    assert sum(found.values()) == limit
    for stratum, count in counts.items():
        assert abs(found[stratum] - limit * count / 1500) <= 1, stratum


def test_every_class_keeps_what_training_needs() -> None:
    rare: dict[Stratum, int] = {("train", label): 2 for label in range(1, 40)}
    found = counted(stratified_sample(listing({("train", 0): 100_000, **rare}), 1000, seed=0))
    assert all(found["train", label] == 2 for label in range(1, 40))
    assert found["train", 0] == 1000 - 78


def test_one_of_them_to_train_on_and_one_to_check_with() -> None:
    counts: dict[Stratum, int] = {
        ("train", 0): 5000,
        ("val", 0): 1000,
        ("train", 1): 1,
        ("val", 1): 3,
        ("test", 1): 2,
        ("test", 0): 10,
    }
    found = counted(stratified_sample(listing(counts), 50, seed=0))
    assert found["train", 1] == 1
    assert found["val", 1] >= 1
    assert found["val", 0] >= 1


def test_no_split_is_lost() -> None:
    counts: dict[Stratum, int] = {("train", 0): 50_000, ("train", 1): 50_000, ("val", 0): 3, ("test", 1): 3}
    found = counted(stratified_sample(listing(counts), 20, seed=0))
    assert found["val", 0] >= 1
    assert found["test", 1] >= 1
    assert sum(found.values()) == 20


@pytest.mark.parametrize("limit", [1, 3, 10, 15, 20])
def test_a_limit_below_what_training_needs_is_kept_all_the_same(limit: int) -> None:
    counts: dict[tuple[Split | None, int], int] = {(None, label): 9 + label for label in range(10)}
    found = counted(stratified_sample(listing(counts), limit, seed=0))
    assert sum(found.values()) == limit
    if limit >= 10:
        assert len(found) == 10


def test_the_order_is_the_listings_and_the_seed_decides() -> None:
    large = listing({("train", 0): 500, ("train", 1): 500})
    first = stratified_sample(large, 100, seed=0)
    assert [s for s in large.samples if s.name in names(first)] == list(first.samples)
    assert stratified_sample(large, 100, seed=0) == first
    assert len(names(stratified_sample(large, 100, seed=1)) & names(first)) < 30
    turned = replace(large, samples=large.samples[::-1])
    assert names(stratified_sample(turned, 100, seed=0)) == names(first)


def test_new_images_move_few_others() -> None:
    large = listing({("train", 0): 1000, ("train", 1): 1000})
    more = replace(large, samples=(*large.samples, *(Sample("/x", f"new/{n}.jpg", 0, "train") for n in range(50))))
    before, after = (names(stratified_sample(some, 200, seed=0)) for some in (large, more))
    assert len(before - after) <= 12, "about 5 % of the drawn images of one class, and a few of shifted shares"


def test_names_that_are_no_unicode_are_drawn_too() -> None:
    odd = listing({("train", 0): 5})
    odd = replace(odd, samples=(*odd.samples, Sample("/x", "caf\udce9.jpg", 0, "train")))
    assert len(stratified_sample(odd, 3, seed=0).samples) == 3


def test_a_thousand_classes_take_no_time() -> None:
    counts: dict[tuple[Split | None, int], int] = {("train", label): 100 for label in range(1000)}
    found = counted(stratified_sample(listing(counts), 20_000, seed=0))
    assert set(found.values()) == {20}
