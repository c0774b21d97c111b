"""Things made in worker processes, in order and ahead of their use; only here are processes started.

Arrays come back through shared memory. A pipe takes 64 KiB at a time, and an image of 224 pixels costs the main process
half a millisecond in it; beside a GPU that is the whole time there is. The memory is a mapping without a name, made
before the workers are forked: /dev/shm, which is small in containers and ends torch's own way in a bus error, has no
part in it.

Source: PEP 574, "Pickle protocol 5 with out-of-band data".
"""

from __future__ import annotations

import gc
import logging
import mmap
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from finetune_advisor.errors import DataError

log = logging.getLogger(__name__)

ROOM = 32 * 1024**2
"""Bytes of arrays in one parcel at most. They are taken from the machine when they are first written to."""

_ALIGNED = 64

T = TypeVar("T")


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


_AHEAD = 2
"""Things that each worker makes before they are asked for."""


def ahead(make: Callable[[int], T], numbers: range, *, workers: int) -> Generator[T]:
    """Yield `make(number)` for each number in order, made up to two per worker ahead.

    Workers end with the iterator, and with this process however it dies. They leave Ctrl-C and SIGTERM, which
    reach a whole process group, to this process; and torch's global random state alone: what a run draws does
    not depend on how many workers it has.

    Args:
        make: called in the workers; what it returns is pickled.
        workers: processes; 0 makes everything in this process at the moment it is asked for.

    Raises:
        DataError: a worker process died.
    """
    workers = min(workers, len(numbers))
    if workers == 0:
        yield from map(make, numbers)
        return
    rooms = rooms_for(workers, _AHEAD)
    loader: DataLoader[Parcel[T]] = DataLoader(
        _Calls(make, numbers, rooms),
        sampler=range(len(numbers)),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_AHEAD,
        collate_fn=_unchanged,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),
        # Beside a GPU a thread empties the pipe: the main one is busy sending work to it.
        pin_memory=torch.cuda.is_initialized(),
    )
    made = iter(loader)
    assert isinstance(made, _MultiProcessingDataLoaderIter)
    try:
        yield from (unpack(parcel, rooms) for parcel in made)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise DataError(
            "A process that decodes images died, most likely because memory ran out.",
            f"Lower runtime.workers ({workers} now); 0 decodes in the main process.",
        ) from error
    finally:
        # A traceback that somebody keeps would keep the iterator, and with it the workers; and workers
        # forked later would try to join them. There is no public way to end them.
        made._shutdown_workers()
        # Where one is still at its work torch asks it by SIGTERM, which it does not hear.
        for process in made._workers:
            process.kill()


class _Calls(Dataset[Parcel[T]], Generic[T]):
    def __init__(self, make: Callable[[int], T], numbers: range, rooms: Rooms | None) -> None:
        self.make = make
        self.numbers = numbers
        self.rooms = rooms

    def __getitem__(self, place: int) -> Parcel[T]:
        return pack(place, self.make(self.numbers[place]), self.rooms)


def _unchanged(made: T) -> T:
    return made


def _begin_worker(worker: int) -> None:  # noqa: ARG001 (torch passes it)
    # A collection writes into every object it looks at, and so would copy all that is shared with the main process.
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    """Torch looks for the main process only between two batches, and not while the pipe to it is full."""
    main_process = multiprocessing.parent_process()
    assert main_process is not None, "this is no worker"
    wait([main_process.sentinel])
    os._exit(1)
