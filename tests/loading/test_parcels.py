"""Arrays come out of shared memory as they went in, and never out of a room that somebody is still reading."""

from __future__ import annotations

import logging
import mmap
import multiprocessing
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from torch.utils.data._utils.pin_memory import pin_memory

from finetune_advisor.loading.workers import ROOM, Parcel, Rooms, ahead, pack, rooms_for, unpack


class Made(NamedTuple):
    number: int
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]


def make(number: int) -> Made:
    rng = np.random.default_rng(number)
    return Made(
        number,
        rng.integers(0, 256, (3, 5, 7 + number % 3), np.uint8),
        rng.integers(0, 9, 3),
        ("a", f"b{number}"),
    )


def assert_same(found: Made, wanted: Made) -> None:
    assert (found.number, found.names) == (wanted.number, wanted.names)
    for ours, theirs in ((found.pixels, wanted.pixels), (found.labels, wanted.labels)):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rooms", [None, Rooms(2)])
def test_what_is_packed_is_what_comes_out(rooms: Rooms | None) -> None:
    for number in range(5):
        found = unpack(pack(number, make(number), rooms), rooms)
        assert_same(found, make(number))
        assert found.pixels.flags.writeable, "torch warns of arrays that cannot be written to"


def test_only_what_does_not_lie_in_a_room_is_sent() -> None:
    rooms, array = Rooms(1), np.zeros(1_000_000, np.uint8)
    parcel = pack(0, array, rooms)
    assert isinstance(parcel.inside, bytes) and len(parcel.inside) < 500
    array[:] = 7
    assert unpack(parcel, rooms).max() == 0


def test_an_unpacked_thing_is_its_own_when_its_room_is_used_again() -> None:
    rooms = Rooms(2)
    first = unpack(pack(0, make(0), rooms), rooms)
    pack(2, make(2), rooms)
    assert_same(first, make(0))


@pytest.mark.parametrize(
    "made", [np.zeros(ROOM + 1, np.uint8), "nothing to share", [np.zeros(ROOM, np.uint8), np.zeros(1)]]
)
def test_what_does_not_fit_or_has_no_arrays_goes_whole(made: object) -> None:
    rooms = Rooms(1)
    parcel = pack(0, made, rooms)
    assert parcel.inside is made and unpack(parcel, rooms) is made


def test_torchs_receiving_thread_leaves_a_parcel_as_it_is() -> None:
    """The thread runs beside a GPU only; it would make pinned copies of all that it finds inside."""
    parcel: Parcel[tuple[str, ...]] = pack(7, ("a", "b"), None)
    assert pin_memory(parcel) is parcel


@pytest.mark.parametrize("workers", [1, 2])
def test_many_things_come_in_order_through_few_rooms(workers: int) -> None:
    for number, found in enumerate(ahead(make, range(40), workers=workers)):
        assert_same(found, make(number))


def test_numbers_need_not_begin_at_zero_nor_follow_each_other() -> None:
    found = list(ahead(make, range(5, 60, 3), workers=2))
    for number, each in zip(range(5, 60, 3), found, strict=True):
        assert_same(each, make(number))


def refused(*_: object) -> None:
    raise OSError("Cannot allocate memory")


@pytest.mark.parametrize(
    ("where", "what", "told"),
    [(mmap, refused, True), (multiprocessing, lambda: "spawn", False)],
    ids=["no memory", "spawned"],
)
def test_without_memory_to_share_there_is_the_pipe(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: object,
    what: Callable[..., object],
    told: bool,
) -> None:
    monkeypatch.setattr(where, "mmap" if where is mmap else "get_start_method", what)
    with caplog.at_level(logging.WARNING):
        assert rooms_for(2, 2) is None
    assert ("Cannot allocate memory" in caplog.text) is told
