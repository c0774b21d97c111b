"""How many processes decode images."""

from __future__ import annotations

from finetune_advisor.processes import local_world_size, usable_cores

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
