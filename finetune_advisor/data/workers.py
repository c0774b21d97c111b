"""How many processes decode images."""

from __future__ import annotations

from finetune_advisor.processes import usable_cores

_MOST_WORKERS = 8


def default_workers(*, sharing: int = 1) -> int:
    """Processes to decode with: one for each core this process may use, at most 8; none where that is one.

    Args:
        sharing: processes that divide the cores among them.
    """
    cores = usable_cores() // sharing
    return 0 if cores <= 1 else min(cores, _MOST_WORKERS)
