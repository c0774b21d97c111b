"""The processes that torchrun started together: which of them this is, and how they meet.

Without torchrun there is one process, everything here answers at once, and torch is not loaded. With it, every process
runs the same command, and each of these calls is made by all of them in the same order.

Values travel over gloo, also where tensors travel over NCCL: processes wait here for work on the CPU and the disk that
may take hours.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from finetune_advisor.errors import OtherProcessEnded

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

PATIENCE = timedelta(days=7)
"""How long a process waits for another that is alive; that one has ended is noticed at once."""

_SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

T = TypeVar("T")


def rank() -> int:
    """Number of this process among all, from 0."""
    return _number("RANK", alone=0)


def world_size() -> int:
    """How many processes there are, on all machines."""
    return _number("WORLD_SIZE", alone=1)


def local_rank() -> int:
    """Number of this process among those of this machine, from 0."""
    return _number("LOCAL_RANK", alone=0)


def local_world_size() -> int:
    """How many processes share this machine."""
    return _number("LOCAL_WORLD_SIZE", alone=1)


def is_main() -> bool:
    """Whether this is the process that decides, writes and prints."""
    return rank() == 0


@dataclass(frozen=True)
class Share:
    """The part of some work that is this process's own, where `of` of them divide it."""

    index: int
    of: int

    def takes(self, digest: str) -> bool:
        """Whether a content, by its hexadecimal digest, is in it; that does not depend on what else there is to do."""
        return int(digest, 16) % self.of == self.index


ALONE = Share(0, 1)


def shares() -> tuple[Share, ...]:
    """How work is divided whose results meet on a disk, in the order to try.

    First among all processes; what has not arrived then, because every machine has a disk of its own, among those of
    this machine; and what no disk takes, alone.
    """
    tried = (Share(rank(), world_size()), Share(local_rank(), local_world_size()), ALONE)
    return tuple(dict.fromkeys(tried))


def gather(value: T) -> list[T]:
    """What every process gives, in the order of their ranks; returns when all have come.

    Raises:
        OtherProcessEnded: one of them will not.
    """
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world_size()
    with _others_alive():
        dist.all_gather_object(values, value, group=_group())
    return values


def from_main(value: T) -> T:
    """What the main process gives, whatever the others do.

    Raises:
        OtherProcessEnded: the main process will not.
    """
    if world_size() == 1:
        return value
    import torch.distributed as dist

    values = [value]
    with _others_alive():
        dist.broadcast_object_list(values, src=0, group=_group())
    return values[0]


def barrier() -> None:
    """Wait until all processes have come here.

    Raises:
        OtherProcessEnded: one of them will not.
    """
    gather(None)


def own_device(device: str) -> str:
    """The torch device of this process: of several GPUs its own one; CPUs are shared, and so are their cores.

    torchrun allows each process a single thread unless it is told otherwise, however many cores there are.
    """
    if world_size() == 1:
        return device
    import torch

    _group()
    if device.startswith("cuda"):
        index = local_rank() % torch.cuda.device_count()
        torch.cuda.set_device(index)
        return f"cuda:{index}"
    torch.set_num_threads(max(1, usable_cores() // local_world_size()))
    return device


def usable_cores() -> int:
    """Cores that this process may run on, which in a container or under taskset are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, with the same bits in each of them; they travel as one.

    Raises:
        OtherProcessEnded: one of them will not give its part.
    """
    if world_size() == 1:
        return
    import torch
    import torch.distributed as dist

    _group()
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    with _others_alive():
        dist.all_reduce(flat)
    for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view(tensor.shape))


def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Give tensors the values that they have in the main process.

    Raises:
        OtherProcessEnded: the main process will not.
    """
    if world_size() == 1:
        return
    import torch.distributed as dist

    _group()
    with _others_alive():
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            dist.broadcast(whole, src=0)
            tensor.detach().copy_(whole)


def first_to_fail() -> bool:
    """Whether no process has failed before this one, which then has to tell why; the others follow from it."""
    if world_size() == 1:
        return True
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import _get_default_store

    if not dist.is_initialized():
        return is_main()
    try:
        return bool(_get_default_store().add("finetune_advisor/failed", 1) == 1)
    except RuntimeError:
        # The process that keeps the store is gone.
        return True


def _number(variable: str, *, alone: int) -> int:
    there = all(name in os.environ for name in _SET_BY_TORCHRUN)
    return int(os.environ[variable]) if there else alone


@cache
def _group() -> ProcessGroup:
    """The group in which values travel; the first call makes the processes of the whole job known to each other."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        on_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= local_world_size()
        if on_gpus:
            torch.cuda.set_device(local_rank())
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
        atexit.register(_part)
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup), "every process belongs to it"
    return group


def _part() -> None:
    """Give the group up before Python ends: a thread of it that outlives Python aborts the process.

    Where a process was stopped in the middle of common work, ending its threads could wait for the others forever.
    """
    import torch.distributed as dist

    if _under_way or not dist.is_initialized():
        return
    _group.cache_clear()
    dist.destroy_process_group()


_under_way: set[object] = set()
"""Common work that was begun and not finished."""


@contextmanager
def _others_alive() -> Iterator[None]:
    work = object()
    _under_way.add(work)
    try:
        yield
        _under_way.discard(work)
    except RuntimeError as error:
        raise OtherProcessEnded(
            f"Another of the {world_size()} processes has ended before the common work was done.",
            f"Its own message says why. ({str(error).strip().splitlines()[0]})",
        ) from error


_MOST_WORKERS = 16


def default_workers(*, sharing: int = 1) -> int:
    """Processes to decode with: one for each core this process may use, at most 16; none where that is one.

    Args:
        sharing: processes that divide the cores among them.
    """
    cores = usable_cores() // sharing
    return 0 if cores <= 1 else min(cores, _MOST_WORKERS)


def workers_of(asked: int | None) -> int:
    """What a recipe's `runtime.workers` comes to here: null shares the cores of this machine among its processes."""
    return default_workers(sharing=local_world_size()) if asked is None else asked
