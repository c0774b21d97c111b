"""Makes things in worker processes, in order and ahead of their use; only here are processes started."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from finetune_advisor.errors import DataError

T = TypeVar("T")


def ahead(make: Callable[[int], T], numbers: range, *, workers: int) -> Generator[T]:
    """Yield `make(number)` for each number in order, made up to two per worker ahead.

    Workers end with the iterator. They leave Ctrl-C to this process, and torch's global random state alone:
    what a run draws does not depend on how many workers it has.

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
    loader: DataLoader[T] = DataLoader(
        _Calls(make),
        sampler=numbers,
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),
    )
    made = iter(loader)
    assert isinstance(made, _MultiProcessingDataLoaderIter)
    try:
        yield from made
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


class _Calls(Dataset[T], Generic[T]):
    def __init__(self, make: Callable[[int], T]) -> None:
        self.make = make

    def __getitem__(self, number: int) -> T:
        return self.make(number)


def _unchanged(made: T) -> T:
    return made


def _ignore_interrupts(worker: int) -> None:  # noqa: ARG001 (torch passes it)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
