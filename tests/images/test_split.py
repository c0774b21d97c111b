"""What a person relies on when images are split: their own split, balance, groups, repeatability."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetune_advisor.errors import DataError
from finetune_advisor.images.sources import Listing, Sample, Split
from finetune_advisor.images.split import redrawn, split, stratified_folds, torn_groups


def listing_of(counts: Mapping[str, int], *, split: Split | None = None, prefix: str = "") -> Listing:
    classes = tuple(sorted(counts))
    samples = tuple(
        Sample("/x", f"{prefix}{name}/{number}.jpg", label, split)
        for label, name in enumerate(classes)
        for number in range(counts[name])
    )
    return Listing(Path("/x"), "/x", classes, samples, ())


def with_samples(listing: Listing, *others: Listing) -> Listing:
    return replace(listing, samples=listing.samples + tuple(s for other in others for s in other.samples))


def sides(listing: Listing) -> dict[str, Split | None]:
    return {sample.name: sample.split for sample in listing.samples}


def count(listing: Listing, part: Split) -> Counter[int]:
    return Counter(sample.label for sample in listing.part(part))


def test_each_class_gives_its_share_and_nobody_makes_a_test_split() -> None:
    done = split(listing_of({"a": 100, "b": 10, "c": 3, "d": 2}), validation=0.2, seed=0)
    assert count(done, "val") == {0: 20, 1: 2, 2: 1, 3: 1}
    assert count(done, "train") == {0: 80, 1: 8, 2: 2, 3: 1}
    assert not done.part("test")


def test_a_large_share_leaves_an_image_to_train_on() -> None:
    done = split(listing_of({"a": 2, "b": 50}), validation=0.99, seed=0)
    assert count(done, "train") == {0: 1, 1: 1}


def test_the_order_of_files_does_not_matter() -> None:
    listing = listing_of({"a": 40, "b": 9})
    shuffled = replace(listing, samples=tuple(random.Random(1).sample(listing.samples, 49)))
    assert sides(split(listing, validation=0.25, seed=3)) == sides(split(shuffled, validation=0.25, seed=3))


def test_seeds_draw_differently() -> None:
    listing = listing_of({"a": 40, "b": 40})
    assert sides(split(listing, validation=0.25, seed=0)) != sides(split(listing, validation=0.25, seed=1))


def test_a_new_image_moves_few_others() -> None:
    before = sides(split(listing_of({"a": 100, "b": 100}), validation=0.2, seed=0))
    after = sides(split(listing_of({"a": 101, "b": 100}), validation=0.2, seed=0))
    assert sum(before[name] != after[name] for name in before) <= 1


def test_the_users_split_is_kept() -> None:
    listing = with_samples(
        listing_of({"a": 5, "b": 5}, split="train", prefix="train/"),
        listing_of({"a": 1, "b": 3}, split="val", prefix="val/"),
        listing_of({"a": 2, "b": 2}, split="test", prefix="test/"),
    )
    assert split(listing, validation=0.5, seed=0) == listing


def test_the_users_test_images_stay_and_have_no_say() -> None:
    train = listing_of({"a": 20, "b": 20}, split="train", prefix="train/")
    test = listing_of({"a": 7, "b": 1}, split="test", prefix="test/")
    relabeled = replace(test, samples=tuple(replace(s, label=1 - s.label) for s in test.samples[:4]))
    alone = sides(split(train, validation=0.25, seed=0))
    for other in (test, relabeled):
        done = split(with_samples(train, other), validation=0.25, seed=0)
        assert done.part("test") == other.samples
        assert alone == {name: side for name, side in sides(done).items() if side != "test"}


@pytest.mark.parametrize("size", [2, 3, 7])
def test_groups_never_straddle(size: int) -> None:
    listing = listing_of({"a": 90, "b": 45, "c": 12})
    groups = {s.name: f"patient {hash_of(s, size)}" for s in listing.samples}
    done = split(listing, validation=0.2, seed=0, groups=groups)
    sides_of: dict[str, set[Split | None]] = {}
    for sample in done.samples:
        sides_of.setdefault(groups[sample.name], set()).add(sample.split)
    assert all(len(found) == 1 for found in sides_of.values())
    assert all(abs(count(done, "val")[label] - 0.2 * n) <= size for label, n in ((0, 90), (1, 45), (2, 12)))
    assert set(count(done, "train")) == {0, 1, 2} == set(count(done, "val"))


def hash_of(sample: Sample, size: int) -> str:
    return f"{sample.label}-{int(sample.path.stem) // size}"


def test_groups_that_mix_classes_never_straddle() -> None:
    listing = listing_of({"a": 60, "b": 60})
    groups = {s.name: str(int(s.path.stem) // 5) for s in listing.samples}
    done = split(listing, validation=0.25, seed=0, groups=groups)
    validating = {groups[s.name] for s in done.part("val")}
    assert not validating & {groups[s.name] for s in done.part("train")}
    assert count(done, "val") == {0: 15, 1: 15}


def test_a_class_in_one_group_trains() -> None:
    listing = listing_of({"a": 10, "b": 10})
    groups = {s.name: "one" if s.label == 0 else s.name for s in listing.samples}
    done = split(listing, validation=0.2, seed=0, groups=groups)
    assert count(done, "train")[0] == 10
    assert count(done, "val") == {1: 2}


def test_groups_larger_than_the_share_still_validate() -> None:
    listing = listing_of({"a": 40, "b": 40})
    groups = {s.name: f"{s.label} {int(s.path.stem) // 20}" for s in listing.samples}
    assert count(split(listing, validation=0.1, seed=0, groups=groups), "val") == {0: 20, 1: 20}


def test_an_image_without_a_group_is_named() -> None:
    listing = listing_of({"a": 3, "b": 3})
    groups = {s.name: "x" for s in listing.samples[1:]}
    with pytest.raises(DataError, match=r"No group is given for 1 image: a/0\.jpg"):
        split(listing, validation=0.2, seed=0, groups=groups)


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(DataError, match=r"data\.validation"):
        split(listing_of({"a": 3, "b": 3}), validation=share, seed=0)


def test_folds_balance_classes_and_sizes() -> None:
    labels_N = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 23, 4]))
    fold_N = stratified_folds(labels_N, 5, seed=0)
    for members in (*(fold_N[labels_N == label] for label in range(3)), fold_N):
        counts = np.bincount(members, minlength=5)
        assert counts.max() - counts.min() <= 1


def test_folds_repeat_with_the_seed() -> None:
    labels_N = np.repeat([0, 1], 20)
    first = stratified_folds(labels_N, 4, seed=0)
    assert (first == stratified_folds(labels_N, 4, seed=0)).all()
    assert (first != stratified_folds(labels_N, 4, seed=1)).any()


def test_folds_keep_groups_together_and_balanced() -> None:
    rng = np.random.default_rng(0)
    groups_N = rng.integers(0, 60, 600)
    labels_N = (groups_N % 3 == 0).astype(np.int64)
    fold_N = stratified_folds(labels_N, 5, seed=0, groups_N=groups_N * 7)
    assert all(len(set(fold_N[groups_N == group])) == 1 for group in range(60))
    for label in (0, 1):
        counts = np.bincount(fold_N[labels_N == label], minlength=5)
        assert counts.max() - counts.min() < 0.15 * counts.sum()


def test_every_fold_gets_a_group_when_there_are_just_enough() -> None:
    fold_N = stratified_folds(np.zeros(30, np.int64), 3, seed=0, groups_N=np.repeat([0, 1, 2], [20, 5, 5]))
    assert set(fold_N) == {0, 1, 2}


def test_the_samples_own_groups_stay_together() -> None:
    listing = listing_of({"a": 40, "b": 40})
    grouped = replace(
        listing,
        samples=tuple(
            replace(s, group=None if number % 4 == 0 else f"scene {number // 8}")
            for number, s in enumerate(listing.samples)
        ),
    )
    for seed in range(5):
        assert torn_groups(split(grouped, validation=0.25, seed=seed)) == {}
    assert split(grouped, validation=0.25, seed=0).part("val")


def test_a_group_that_is_called_like_an_image_is_not_that_image() -> None:
    listing = listing_of({"a": 3, "b": 3})
    first, second, *rest = listing.samples
    odd = replace(listing, samples=(first, replace(second, group=first.name), *rest))
    found = {sides(split(odd, validation=0.4, seed=seed))[first.name] for seed in range(20)}
    assert found == {"train", "val"}, "drawn like any other"


def test_groups_torn_by_the_users_split_are_told() -> None:
    rows: dict[str | None, tuple[Split, ...]] = {
        "p10": ("train", "test", "train"),
        "p2": ("val", "val"),
        "p3": ("val", "test"),
        None: ("train", "test"),
    }
    samples = [
        Sample("/x", f"{group}/{number}.jpg", 0, side, group)
        for group, row in rows.items()
        for number, side in enumerate(row)
    ]
    listing = Listing(Path("/x"), "/x", ("a",), tuple(samples), ())
    torn = torn_groups(listing)
    assert torn == {"p3": {"val": 1, "test": 1}, "p10": {"train": 2, "test": 1}}
    assert list(torn) == ["p3", "p10"]
    unsplit = replace(listing, samples=tuple(replace(s, split=None) for s in samples))
    assert torn_groups(unsplit) == {}


def torn_listing(*, train: int = 60, test: int = 20, torn: int = 8) -> tuple[Listing, dict[str, str]]:
    """Two classes with a split of the user's; of each class so many test images are copies of training images."""
    listing = with_samples(
        listing_of({"a": train, "b": train // 2}, split="train", prefix="train/"),
        listing_of({"a": test, "b": test // 2}, split="test", prefix="test/"),
    )
    groups: dict[str, str] = {}
    for name, count in (("a", torn), ("b", torn // 2)):
        for number in range(count):
            groups |= {f"{side}/{name}/{number}.jpg": f"{name}{number}" for side in ("train", "test")}
    return listing, groups


def test_a_redrawn_split_tears_no_group_and_keeps_the_share_of_each_class() -> None:
    listing, groups = torn_listing()
    done = redrawn(listing, groups, seed=0)
    assert torn_groups(replace(done, samples=tuple(replace(s, group=groups.get(s.name)) for s in done.samples))) == {}
    for part in ("train", "test"):
        for label, images in count(listing, part).items():
            assert abs(count(done, part)[label] - images) <= 1


def test_a_redrawn_split_follows_the_seed_and_not_the_order_of_files() -> None:
    listing, groups = torn_listing()
    once = sides(redrawn(listing, groups, seed=0))
    shuffled = replace(listing, samples=tuple(random.Random(0).sample(listing.samples, len(listing.samples))))
    assert sides(redrawn(shuffled, groups, seed=0)) == once
    assert sides(redrawn(listing, groups, seed=1)) != once


def test_what_no_group_straddles_keeps_the_users_split_and_what_has_none_gets_none() -> None:
    listing, _ = torn_listing()
    together = {f"train/a/{number}.jpg": "one" for number in range(5)}
    assert sides(redrawn(listing, together, seed=0)) == sides(listing)
    unsplit = listing_of({"a": 5, "b": 5})
    assert sides(redrawn(unsplit, {"a/0.jpg": "g", "a/1.jpg": "g"}, seed=0)) == sides(unsplit)


def test_a_class_in_one_group_that_straddles_stays_where_it_can_be_trained_on() -> None:
    listing, groups = torn_listing()
    groups |= {sample.name: "all of b" for sample in listing.samples if sample.label == 1}
    done = redrawn(listing, groups, seed=0)
    assert count(done, "train")[1] == 40 and count(done, "test")[1] == 0


def test_large_groups_do_not_empty_a_side() -> None:
    listing = with_samples(listing_of({"a": 40}, split="train", prefix="x/"), listing_of({"a": 20}, split="test"))
    groups = {f"x/a/{n}.jpg": f"g{n % 4}" for n in range(40)} | {f"a/{n}.jpg": f"g{n % 4}" for n in range(20)}
    done = redrawn(listing, groups, seed=0)
    assert count(done, "test")[0] == 15 and count(done, "train")[0] == 45
