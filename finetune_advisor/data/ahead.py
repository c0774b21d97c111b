"""Makes things in worker processes, in order and ahead of their use; only here are processes started."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator
from multiprocessing.connection import wait
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from finetune_advisor.data.parcels import Parcel, Rooms, pack, rooms_for, unpack
from finetune_advisor.errors import DataError

T = TypeVar("T")

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
        pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]
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
