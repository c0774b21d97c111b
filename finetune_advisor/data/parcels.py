"""How what a worker process made comes to the main one: arrays through memory that both see, the rest through a pipe.

A pipe takes 64 KiB at a time, and an image of 224 pixels costs the main process half a millisecond in it; beside a GPU
that is the whole time there is. The memory is a mapping without a name, made before the workers are forked: /dev/shm,
which is small in containers and ends torch's own way in a bus error, has no part in it.

Source: PEP 574, "Pickle protocol 5 with out-of-band data".
"""

from __future__ import annotations

import logging
import mmap
import multiprocessing
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

ROOM = 32 * 1024**2
"""Bytes of arrays in one parcel at most. They are taken from the machine when they are first written to."""

_ALIGNED = 64

T = TypeVar("T")

log = logging.getLogger(__name__)


class Rooms:
    """Memory for as many parcels as can be under way at once; parcel n has the room of all n + k * `count`."""

    def __init__(self, count: int) -> None:
        """
        Raises:
            OSError: the machine does not give so much.
        """
        self.count = count
        self._memory = memoryview(mmap.mmap(-1, count * ROOM))

    def of(self, number: int) -> memoryview:
        """The bytes that belong to a parcel."""
        start = number % self.count * ROOM
        return self._memory[start : start + ROOM]


@dataclass(frozen=True)
class Parcel(Generic[T]):
    """What goes through the pipe. Torch's receiving thread would take apart what it knows, to pin the tensors in it."""

    number: int
    inside: bytes | T
    """A pickle whose arrays lie in the parcel's room; the thing itself where there are no rooms or it is too large."""
    sizes: tuple[int, ...] = ()
    """Bytes of each of those arrays; without any, `inside` is the thing itself."""

    def pin_memory(self) -> Parcel[T]:
        return self


def pack(number: int, made: T, rooms: Rooms | None) -> Parcel[T]:
    """In the process that made it."""
    if rooms is None:
        return Parcel(number, made)
    buffers: list[pickle.PickleBuffer] = []
    inside = pickle.dumps(made, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = tuple(view.nbytes for view in views)
    if not sizes or sum(map(_aligned, sizes)) > ROOM:
        return Parcel(number, made)
    for part, view in zip(_parts(rooms.of(number), sizes), views, strict=True):
        part[:] = view
    return Parcel(number, inside, sizes)


def unpack(parcel: Parcel[T], rooms: Rooms | None) -> T:
    """In the main process: a thing of its own, whose room can be used again."""
    if rooms is None or not parcel.sizes:
        assert not parcel.sizes, "the parcel lies in rooms"
        return parcel.inside  # type: ignore[return-value]
    assert isinstance(parcel.inside, bytes)
    parts = _parts(rooms.of(parcel.number), parcel.sizes)
    made: T = pickle.loads(parcel.inside, buffers=map(bytearray, parts))  # noqa: S301 (our own worker wrote it)
    return made


def rooms_for(workers: int, ahead: int) -> Rooms | None:
    """Rooms for workers that are forked after this, each so many parcels ahead; None where they cannot have any.

    A worker may begin a parcel when the main process has been handed the one `workers * ahead` before it and has not
    yet unpacked it; one room more keeps them apart.
    """
    if multiprocessing.get_start_method() != "fork":
        return None
    try:
        return Rooms(workers * ahead + 1)
    except OSError as problem:
        log.warning("decoded images travel through a pipe, which is slower: no memory to share (%s)", problem)
        return None


def _parts(room: memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    start = 0
    for size in sizes:
        yield room[start : start + size]
        start += _aligned(size)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
