"""What a run does by itself when training fails: it goes back, or takes smaller bites; and says so."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from finetune_advisor.errors import RunError
from finetune_advisor.training.state import TrainState

log = logging.getLogger(__name__)

T = TypeVar("T")

_ON_CPU = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator")
"""What torch says in a RuntimeError when memory for a tensor is refused."""


def within_memory(state: TrainState, largest: int, attempt: Callable[[int], T]) -> T:
    """What `attempt` returns, given how many images may go through the network together.

    When memory runs out that number is halved, for the rest of the run, and the same is tried again.

    Args:
        largest: images together as long as memory never ran out.
        attempt: leaves nothing behind but gradients when it fails.

    Raises:
        RunError: memory does not even suffice for one image.
    """
    while True:
        size = min(state.micro_batch or largest, largest)
        try:
            return attempt(size)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # Here the error and its traceback are gone, which would keep what lies in memory.
        _take_smaller(state, size, reason)


def go_back(state: TrainState, restore: Callable[[], None], problem: RunError, *, retries: int) -> None:
    """Restore the last good checkpoint, to go on with half the rate.

    Args:
        restore: loads the checkpoint into `state`.
        problem: what the last attempt ended with.
        retries: how often this may be done in a run.

    Raises:
        RunError: the problem, when there is no attempt left.
    """
    if state.retries >= retries:
        if retries:
            problem.message += f" It went back {state.retries} times before (`runtime.retries`)."
        raise problem
    factor, done = state.rate_factor / 2, state.retries + 1
    micro_batch, before = state.micro_batch, state.step
    state.optimizer.zero_grad(set_to_none=True)
    restore()
    state.rate_factor, state.retries, state.micro_batch = factor, done, micro_batch
    told = f"{problem.message} Went back from step {before} to step {state.step}, with {factor:g} of the rate."
    log.warning(told)
    state.events.append(told)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in _ON_CPU)


def _take_smaller(state: TrainState, size: int, reason: str) -> None:
    if size == 1:
        raise RunError(
            f"Memory does not suffice for a single image: {reason}.",
            "Lower preprocessing.size, choose a smaller backbone or fewer trained stages, or more memory. "
            "The last checkpoint is intact.",
        )
    state.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    state.micro_batch = max(1, size // 2)
    told = (
        f"Memory ran out at step {state.step + 1}: from now on at most {state.micro_batch} images go through the "
        f"network together instead of {size}; a step stays the same. ({reason})"
    )
    log.warning(told)
    state.events.append(told)
