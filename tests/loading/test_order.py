"""The order of training: every image once an epoch, the same again from the same seed."""

import numpy as np
import pytest

from finetune_advisor.loading.order import BatchPlan, image_rng, mixing_rng


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [
        (10, 5, [5, 5]),
        (12, 5, [5, 5, 2]),
        (11, 5, [5, 6]),
        (5, 64, [5]),
        (1, 64, [1]),
        (3, 1, [1, 1, 1]),
        (3, 2, [3]),
        (65, 64, [65]),
    ],
)
def test_an_epoch_visits_every_image_once(images: int, batch: int, sizes: list[int]) -> None:
    plan = BatchPlan(images=images, batch=batch, seed=0)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        assert {plan.epoch(step) for step in steps} == {epoch}
        batches = [plan.indices(step) for step in steps]
        assert [len(indices) for indices in batches] == sizes
        assert sorted(np.concatenate(batches)) == list(range(images))


def test_a_step_is_a_pure_function_of_seed_and_number() -> None:
    asked_last = BatchPlan(images=50, batch=8, seed=4).indices(13)
    plan = BatchPlan(images=50, batch=8, seed=4)
    in_order = [plan.indices(step) for step in range(20)]
    assert (asked_last == in_order[13]).all()


def test_epochs_and_seeds_differ() -> None:
    plan = BatchPlan(images=50, batch=50, seed=0)
    assert (plan.indices(0) != plan.indices(1)).any()
    assert (plan.indices(0) != BatchPlan(images=50, batch=50, seed=1).indices(0)).any()


def test_each_image_and_epoch_has_its_own_dice() -> None:
    keys = [(seed, epoch, index) for seed in range(3) for epoch in range(3) for index in range(3)]
    first = [image_rng(*key).integers(2**62) for key in keys]
    assert first == [image_rng(*key).integers(2**62) for key in keys]
    assert len(set(first)) == len(keys)


def test_each_step_has_its_own_dice_for_mixing() -> None:
    keys = [(seed, step) for seed in range(3) for step in range(9)]
    first = [mixing_rng(*key).integers(2**62) for key in keys]
    assert first == [mixing_rng(*key).integers(2**62) for key in keys]
    assert len(set(first)) == len(keys)


@pytest.mark.parametrize("processes", [1, 2, 3, 5, 40])
def test_the_shares_of_a_batch_are_the_batch(processes: int) -> None:
    whole = BatchPlan(images=33, batch=10, seed=4)
    plans = [BatchPlan(images=33, batch=10, seed=4, rank=rank, processes=processes) for rank in range(processes)]
    for step in range(9):
        shares = [plan.indices(step) for plan in plans]
        assert np.concatenate(shares).tolist() == whole.indices(step).tolist()
        assert 1 not in map(len, shares), "BatchNorm cannot train on one image"
        filled = [len(share) for share in shares if len(share)]
        assert all(size % 2 == 0 for size in filled[:-1]), "pairs stay together"
        assert max(filled) - min(filled) <= 3, "and the shares are as even as pairs can be"
        assert {plan.size(step) for plan in plans} == {len(whole.indices(step))}
